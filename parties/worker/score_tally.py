"""Count scores in bins, over many runs, and open only the sums with noise. Sees one share of them.

After the answers of a run have been released, both workers (docs/how-to/telemetry.md):

    1.  say in the clear    the period, what they have counted so far, and which answers count
    2.  open                the sum of a period that is over, if enough was counted: each party adds
                            noise of its own to its share before it leaves
    3.  sort                the scores of this run into bins, on shares (mpc/score_bins.py)
    4.  confirm             that both saw the same; then each adds its share to its running sum

A running sum is a share and in memory only. Nothing of one answer is kept, logged or opened. If the
workers' running sums are not of the same runs, because one was restarted, both begin anew: less is
opened, and never anything of fewer answers than `min_queries`.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from parties.config.telemetry import FOLDER, TelemetrySection
from parties.mpc.engine import Engine
from parties.mpc.network import Distances
from parties.mpc.noise import discrete_laplace
from parties.mpc.release import release
from parties.mpc.score_bins import sorted_into
from parties.mpc.session import Session
from parties.worker.task import Task
from privedge.errors import TranscriptMismatch

log = logging.getLogger(__name__)

_CHAIN_BYTES = 16


@dataclass
class _Tally:
    """What was counted of a cohort in one period.

    sums: this party's shares of the bins, int64, or None for none yet.
    chain: a digest of the sessions of the runs that were counted.
    """

    period: int
    sums: torch.Tensor | None = field(default=None, repr=False)
    count: int = 0
    chain: bytes = bytes(_CHAIN_BYTES)

    @property
    def words(self) -> list[int]:
        """What the other party compares. All of it is public."""
        halves = (self.chain[:8], self.chain[8:])
        return [
            self.period,
            self.count,
            *(int.from_bytes(h, "little", signed=True) for h in halves),
        ]

    def plus(self, sums: torch.Tensor, count: int, session: bytes) -> "_Tally":
        """With a run more."""
        before = torch.zeros_like(sums) if self.sums is None else self.sums
        chain = hashlib.sha256(self.chain + session).digest()[:_CHAIN_BYTES]
        return _Tally(self.period, before + sums, self.count + count, chain)


class ScoreTally:
    """One worker's, of all cohorts. For one run at a time."""

    def __init__(self, state: Path, clock: Callable[[], float] = time.time) -> None:
        """`state`: the party's folder. `clock`: seconds since 1970."""
        self._folder = state / FOLDER
        self._clock = clock
        self._tallies: dict[str, _Tally] = {}

    def add(
        self,
        session: Session,
        run: bytes,
        task: Task,
        engine: Engine[Any],
        distances: Distances[Any],
    ) -> None:
        """Count the scores of `distances`, in step with the other worker.

        Does nothing in a cohort without telemetry, or of one owner without rivals, who has no
        second best. Raises what an exchange does.
        """
        settings = task.snapshot.telemetry
        alone = distances.owners.size(1) < 2 and distances.rivals is None
        if settings is None or alone:
            return
        cohort = task.snapshot.cohort
        with session.phase("telemetry"):
            now = int(self._clock() // settings.period_s)
            # Until the end of the run nothing is held, so a sum can be opened once only.
            tally = self._tallies.pop(cohort, None) or _Tally(now)
            same_period, rows = self._told(session, now, tally, task)
            if rows is None:  # other runs were counted there, or none
                tally, rows = _Tally(now), []
            elif same_period and tally.period < now:
                self._open(session, settings, cohort, tally)
                tally = _Tally(now)
            hot = sorted_into(
                engine,
                distances.owners,
                settings.bins,
                task.snapshot.mean_share,
                distances.rivals,
            )
            session.confirm()
        if rows:
            tally = tally.plus(hot.share[rows].sum(0), len(rows), run)
        self._tallies[cohort] = tally

    def _told(
        self, session: Session, now: int, tally: _Tally, task: Task
    ) -> tuple[bool, list[int] | None]:
        """Compare with the other worker: whether it is in the same period, and the rows that count
        at both; None if its tally is another one.
        """
        counted = task.counted or (False,) * task.answers
        # A run that began before the end of its period was charged to that period's quota. In the
        # next one it would come on top of a quota that is full again.
        if task.counted_period != now:
            counted = (False,) * len(counted)
        mine = torch.tensor([now, *tally.words, *map(int, counted)], dtype=torch.int64)
        theirs = session.exchange(mine)
        if theirs.numel() != mine.numel():
            raise TranscriptMismatch("telemetry: the parties have other numbers of answers")
        head = 1 + len(tally.words)
        same_period = bool(theirs[0] == now)
        if not same_period:
            log.info("cohort %s: the other party is in another period", task.snapshot.cohort)
        if theirs[1:head].tolist() != tally.words:
            log.info("cohort %s: telemetry begins anew", task.snapshot.cohort)
            return same_period, None
        both = (mine[head:] & theirs[head:]).nonzero().reshape(-1).tolist()
        return same_period, both if same_period and tally.period <= now else []

    def _open(
        self, session: Session, settings: TelemetrySection, cohort: str, tally: _Tally
    ) -> None:
        """Open the sum of a period that is over, with both parties' noise, and write it down. Of
        too few answers nothing is opened.
        """
        if tally.sums is None or tally.count < settings.min_queries:
            log.info("cohort %s: too few scores were counted to be opened", cohort)
            return
        noise = [discrete_laplace(settings.scale) for _ in range(settings.bins)]
        # The share is uniform, and what the other party makes of it has this party's noise.
        mine = release(session, tally.sums + torch.tensor(noise, dtype=torch.int64), "telemetry")
        opened = (session.exchange(mine) + mine).tolist()
        self._write(settings, cohort, tally, opened)

    def _write(
        self, settings: TelemetrySection, cohort: str, tally: _Tally, counts: Sequence[int]
    ) -> None:
        began = datetime.fromtimestamp(tally.period * settings.period_s, UTC)
        line = {
            "cohort": cohort,
            "from": began.isoformat(timespec="seconds"),
            "period_s": settings.period_s,
            "answers": tally.count,
            "counts": counts,
            "epsilon": settings.epsilon,
            "unit": settings.unit,
            "noise_scale": float(settings.scale),
        }
        self._folder.mkdir(mode=0o700, exist_ok=True)
        # One write: lines of several workers do not mix.
        file = os.open(
            self._folder / f"{cohort}.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
        )
        try:
            os.write(file, f"{json.dumps(line)}\n".encode())
        finally:
            os.close(file)
