"""Run both parties of private prediction and the dealer in this process, and record each party.

The engine, the dealing and the decision are those that the servers run; only the transport is a
queue. Anyone who runs this module has all secrets of both parties. Use it only for attacks on
synthetic or public data.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from privedge.mpc.dealing import Dealer, SessionId, new_seed
from privedge.mpc.fixed_product import MaskedWeights
from privedge.mpc.fused.engine import FusedEngine
from privedge.mpc.predict import Rule, predict
from privedge.mpc.tuples import TupleKind
from privedge.mpc.weight_masks import WeightMasks
from privedge.ran.spec import RanSpec
from privedge.reference.recording import QueueLink, Record, RecordingSession, RecordingTuples
from privedge.sharing.ring import Words
from privedge.sharing.split import split
from privedge_lab.attacks.views import PartyView

_MAX_ELEMENTS = 1 << 24
_KEPT_MASKS_BYTES = 1 << 28
# Words kept of each tuple part and exchange. A small preset has no more than this.
_KEEP = 4096


@dataclass(frozen=True)
class Asked:
    """The answers int64 (n, owners), 0 or 1, and each party's view."""

    answers: torch.Tensor = field(repr=False)
    views: tuple[PartyView, PartyView] = field(repr=False)


@dataclass
class _Seen:
    """One party's recording of one query, cut to size."""

    image: torch.Tensor
    answer: torch.Tensor
    seed: torch.Tensor
    masks: torch.Tensor
    sent: torch.Tensor
    received: torch.Tensor


class BothParties:
    """A snapshot of one cohort, served privately by two recorded parties."""

    def __init__(
        self, spec: RanSpec, parameters: Mapping[str, Words], rule: Rule, *, keep: int = _KEEP
    ) -> None:
        """Share `parameters` (name -> uint64 (owners, *shape) at f) between the two parties.

        `keep`: how many words of each tuple part and exchange are recorded.
        """
        self._spec, self._rule, self._keep = spec, rule, keep
        halves = {name: split(words) for name, words in parameters.items()}
        self._weights = [
            {name: _tensor(half[party]) for name, half in halves.items()} for party in (0, 1)
        ]
        self._masked = (MaskedWeights.fresh(b""), MaskedWeights.fresh(b""))
        self._known = WeightMasks(_KEPT_MASKS_BYTES)
        # The first run also opens the masked weights, once. At the servers, too, queries follow it.
        self._ask(np.zeros((1, *spec.input_shape), np.uint64))

    def ask(self, images: Words) -> Asked:
        """Ask for each of `images` uint64 (n, *input_shape) at f, each in a run of its own."""
        runs = [self._ask(image[None]) for image in images]
        answers = torch.cat([runs_of[0].answer + runs_of[1].answer for runs_of in runs])
        return Asked(
            answers, (self._view(0, [r[0] for r in runs]), self._view(1, [r[1] for r in runs]))
        )

    def _view(self, party: int, seen: Sequence[_Seen]) -> PartyView:
        return PartyView(
            party=party,
            weights=self._weights[party],
            masked_weights=self._masked[party].opened,
            image_share=torch.cat([each.image for each in seen]),
            answer_share=torch.cat([each.answer for each in seen]),
            seeds=torch.stack([each.seed for each in seen]),
            masks=torch.stack([each.masks for each in seen]),
            sent=torch.stack([each.sent for each in seen]),
            received=torch.stack([each.received for each in seen]),
        )

    def _ask(self, image: Words) -> tuple[_Seen, _Seen]:
        run, seeds = SessionId(os.urandom(16), 0), (new_seed(), new_seed())
        links, shares = QueueLink.pair(), split(image)
        seen: list[_Seen | BaseException] = [RuntimeError("no answer")] * 2

        def party(index: int) -> None:
            dealer = _NearDealer(self._dealer(run, seeds), index)
            tuples = RecordingTuples(index, run, seeds[index], dealer)
            session = RecordingSession(index, links[index], tuples)
            try:
                share = _tensor(shares[index])
                answer = self._computed(session, share)
                seen[index] = self._cut(session.record, seeds[index], share, answer)
            except BaseException as error:  # raised below, in the caller's thread
                seen[index] = error
                links[index].hang_up()

        other = threading.Thread(target=party, args=(1,))
        other.start()
        party(0)
        other.join()
        first, second = seen
        for each in (first, second):
            if isinstance(each, BaseException):
                raise each
        assert isinstance(first, _Seen) and isinstance(second, _Seen)  # noqa: S101
        return first, second

    def _computed(self, session: RecordingSession, share: torch.Tensor) -> torch.Tensor:
        engine = FusedEngine(session, self._masked[session.party])
        try:
            weights = self._weights[session.party]
            parameters = {name: engine.share(words) for name, words in weights.items()}
            answer = predict(engine, self._spec, parameters, engine.share(share), self._rule)
            session.confirm()
            words: torch.Tensor = answer.share
            return words
        finally:
            engine.close()

    def _dealer(self, run: SessionId, seeds: tuple[bytes, bytes]) -> Dealer:
        weight_seeds = (self._masked[0].seed, self._masked[1].seed)
        return Dealer(run, seeds, weight_seeds, max_elements=_MAX_ELEMENTS, masks=self._known)

    def _cut(self, record: Record, seed: bytes, share: torch.Tensor, answer: torch.Tensor) -> _Seen:
        parts = [part for _, shares in record.tuples for part in (*shares.free, *shares.derived)]
        return _Seen(
            image=share,
            answer=answer.reshape(1, -1),
            seed=torch.frombuffer(bytearray(seed), dtype=torch.int64),
            masks=self._first(parts),
            sent=self._first(record.sent),
            received=self._first(record.received),
        )

    def _first(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.reshape(-1)[: self._keep].long() for part in parts])


class _NearDealer:
    """A link (mpc.dealing.DealerLink) to a dealer in the same process."""

    def __init__(self, dealer: Dealer, party: int) -> None:
        self._dealer, self._party = dealer, party
        self._wanted: list[tuple[int, TupleKind]] = []

    def request(self, tuples: list[tuple[int, TupleKind]]) -> None:
        self._wanted += tuples

    def receive(self, counter: int) -> torch.Tensor:
        asked, kind = self._wanted.pop(0)
        return self._dealer.correct(self._party, asked, kind)


def _tensor(words: Words) -> torch.Tensor:
    """Return the same bits as int64."""
    return torch.from_numpy(words.view(np.int64).copy())
