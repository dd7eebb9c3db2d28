"""Damaged shares: which there are at either party, and which models no query asks because of them.

    1.  a worker, a start or the scrub   suspects a share file at its own party
        a list of party 0                names a model that party 1 lacks
    2.  that party                       reads the file against its manifest, and believes only that
    3.  party 1 -> party 0               all that is damaged there (WatchHalves)
    4.  party 0                          registry: quarantined; the cohort answers from the rest
    5.  party 0 -> party 1               the lists (FollowActiveModels), and party 1 follows
    6.  a file changes or is back        the same way back: active again

Sees one share of models, as bytes, and this party's salts. docs/adr/0016-damaged-shares.md.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress

from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles
from parties.party.models.tables import IN_USE, Model, State
from privedge.errors import Unreachable

log = logging.getLogger(__name__)

# A share may be refreshed while it is read.
_TRIES = 3


class Quarantine:
    """What one party knows of damaged shares. Safe to call from several threads."""

    def __init__(self, registry: Registry, files: ShareFiles, party: int) -> None:
        """Look for shares that are missing, and at those that were damaged before."""
        self._registry = registry
        self._files = files
        self._party = party
        self._lock = threading.Lock()
        self._watchers: list[Callable[[frozenset[str]], None]] = []
        # Model id -> what its file looked like when it was found to be damaged.
        self._mine: dict[str, object] = {}
        # Party 1: models whose share is of another refresh than party 0's.
        self._apart: frozenset[str] = frozenset()
        # Party 1, by cohort: models that party 0 lists and this party lacks.
        self._lacking: dict[str, frozenset[str]] = {}
        # What party 1 says, at party 0. None until it has said so.
        self._peers: frozenset[str] | None = None
        # What this operator's admins want to be deleted. It is left out like what is damaged.
        self._unwanted = registry.unwanted()
        # Left out, by id and cohort, in this epoch of the registry.
        self._left_out: list[tuple[str, str]] = []
        self._left_out_in = 0
        there = files.there()
        live = registry.live().values()
        self.suspect(
            row.model_id
            for row in live
            if row.state == State.QUARANTINED or row.model_id not in there
        )

    @property
    def mine(self) -> frozenset[str]:
        """Ids of the models that must be left out because of this party: their share is damaged
        here, missing or does not fit party 0's, or its operator's admins want them to be deleted.
        """
        with self._lock:
            return self._unwanted.union(self._mine, self._apart, *self._lacking.values())

    @property
    def unwanted(self) -> frozenset[str]:
        """Ids of the models that this operator's admins want to be deleted."""
        with self._lock:
            return self._unwanted

    def say_unwanted(self, model_id: str) -> None:
        """An admin of this operator wants this model to be deleted. Raises DiskFull."""
        self._registry.say_unwanted(model_id)
        with self._lock:
            self._unwanted |= {model_id}
        self._tell()

    def forget(self, model_id: str) -> None:
        """The model is deleted."""
        with self._lock:
            self._unwanted -= {model_id}

    @property
    def lines(self) -> tuple[str, ...]:
        """For operators: each model that is left out, and which party's share is damaged."""
        with suppress(Unreachable):  # then as they were before
            self._look()
        with self._lock:
            lacking = [(cohort, *ids) for cohort, ids in sorted(self._lacking.items())]
        lines = [
            f"model {model_id} of cohort {cohort}: quarantined, {self._why(model_id)}"
            for model_id, cohort in self._left_out
        ]
        lines += (
            f"model {model_id} of cohort {cohort}: quarantined, party 0 lists it and this party "
            "lacks it"
            for cohort, *ids in lacking
            for model_id in sorted(ids)
        )
        return tuple(lines)

    def _look(self) -> None:
        """Ask the registry what is left out, unless nothing has changed there: operators ask often,
        and a state of a model changes with the epoch. A registry without a folder has none.
        """
        epoch = self._registry.epochs.own
        if epoch and epoch == self._left_out_in:
            return
        found = self._registry.quarantined()
        self._left_out = [(row.model_id, row.cohort) for row in found]
        self._left_out_in = epoch

    def lacking_fault(self) -> str:
        """Party 1: how many models it lacks that party 0 lists; empty if none."""
        with self._lock:
            counts = {cohort: len(ids) for cohort, ids in self._lacking.items() if ids}
        return "; ".join(
            f"cohort {cohort}: this party lacks {count} of party 0's models"
            for cohort, count in sorted(counts.items())
        )

    def watch(self, changed: Callable[[frozenset[str]], None]) -> None:
        """Call `changed` now and after every change with `mine`, or at party 0 also after one of
        party 1's. It must not take long.
        """
        self._watchers.append(changed)
        changed(self.mine)

    def hear(self, peers: frozenset[str]) -> None:
        """Party 0: what party 1 says to be damaged there; at the start of every connection too.

        Watchers are told even if it is what was said before: party 1 may have been restored from a
        backup meanwhile, and then needs the lists again.
        """
        with self._lock:
            self._peers = peers
        self._tell()

    def damaged(self) -> tuple[frozenset[str], bool]:
        """Ids of what is damaged at either party, and whether party 1 has said so: only then may a
        model leave the quarantine.
        """
        with self._lock:
            mine = self._apart.union(self._mine, self._unwanted)
            return mine.union(self._peers or ()), self._peers is not None

    def set_apart(self, fit: Collection[str], apart: Collection[str]) -> None:
        """Party 1: the shares of `fit` are of the refresh of party 0's, those of `apart` not."""
        with self._lock:
            before = self._apart
            self._apart = before.difference(fit).union(apart)
        for model_id in self._apart - before:
            log.error(
                "model %s: its share is of another refresh than party 0's; put the newest backup "
                "back, or let its owner upload the model again", model_id
            )  # fmt: skip
        if self._apart != before:
            self._tell()

    def set_lacking(self, cohort: str, model_ids: Collection[str]) -> None:
        """Party 1: of party 0's newest list of this cohort, it lacks these models and no others."""
        with self._lock:
            before = self._lacking.get(cohort, frozenset())
            self._lacking[cohort] = frozenset(model_ids)
        for model_id in sorted(set(model_ids) - before):
            log.error(
                "model %s of cohort %s: party 0 lists it, and this party lacks it; put the newest "
                "backup back, or let its owner upload the model again", model_id, cohort
            )  # fmt: skip
        if before != set(model_ids):
            self._tell()

    def suspect(self, model_ids: Iterable[str], pause: Callable[[], object] = lambda: None) -> None:
        """Read these shares against their manifests; `pause` is called before every piece."""
        if any([self._examined(model_id, pause) for model_id in model_ids]):
            self._tell()

    def look_again(self) -> None:
        """Read those damaged shares whose file has changed, and forget models out of use."""
        with self._lock:
            before, apart = dict(self._mine), self._apart
        self.set_apart([each for each in apart if self._in_use(each) is None], ())
        for row in map(self._in_use, before):
            if row is not None:
                self._files.settle(row)
        self.suspect([each for each in before if self._files.mark(each) != before[each]])
        self.suspect([each for each in before if self._in_use(each) is None])

    def _why(self, model_id: str) -> str:
        with self._lock:
            if model_id in self._unwanted:
                return "suspended by an admin here until one of the other operator deletes it too"
            if model_id in self._mine:
                return f"the share of party {self._party} is damaged"
        other = 1 - self._party
        return f"party {other} lacks its share or has a damaged one, or an admin there suspended it"

    def _examined(self, model_id: str, pause: Callable[[], object]) -> bool:
        """Whether `mine` has changed."""
        mark, wrong = self._read(model_id, pause)
        with self._lock:
            before = model_id in self._mine
            if wrong:
                self._mine[model_id] = mark
            else:
                self._mine.pop(model_id, None)
        if wrong and not before:
            log.error("%s; put the file back, or let its owner upload the model again", wrong)
        elif before and not wrong:
            log.info("model %s: its share is no longer damaged, or no longer in use", model_id)
        return before != bool(wrong)

    def _read(self, model_id: str, pause: Callable[[], object]) -> tuple[object, str | None]:
        """What its file looked like before it was read, and what is wrong with it."""
        for _ in range(_TRIES):
            # Before the file is read: what changes later is read again.
            mark, row = self._files.mark(model_id), self._in_use(model_id)
            wrong = self._files.fault(row, pause=pause) if row is not None else None
            now = self._in_use(model_id) if wrong else None
            if row is None or now is None:  # nothing is wrong, or it was deleted or replaced
                return mark, None
            if now.version == row.version and self._files.mark(model_id) == mark:
                break  # it was not refreshed meanwhile
        return mark, wrong

    def _in_use(self, model_id: str) -> Model | None:
        row = self._registry.get(model_id)
        return row if row is not None and row.state in IN_USE else None

    def _tell(self) -> None:
        mine = self.mine
        for changed in self._watchers:
            changed(mine)
