"""Run both parties of private prediction, with a dealer or without, and record each party.

privedge_lab.reference.run computes; this keeps what each party sees of a snapshot and its queries.
It has all secrets of both parties: it is for attacks on made or public data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from parties.mpc.bundles import Supply
from parties.mpc.dealing import Dealer, DealerLink, SessionId
from parties.mpc.engine import Engine, T
from parties.mpc.predict import Rule, predict
from parties.mpc.tuples import TupleKind
from parties.mpc.weight_masks import WeightMasks
from privedge.ran.narrow import word_bits
from privedge.ran.spec import RanSpec
from privedge.sharing.ring import Words
from privedge.sharing.split import split
from privedge_lab.attacks.views import PartyView
from privedge_lab.reference.making import TwoParties
from privedge_lab.reference.recording import NearLink, Record, RecordingBundle
from privedge_lab.reference.run import Shares, as_tensor, fresh_masks, run

_MAX_ELEMENTS = 1 << 24
_KEPT_MASKS_BYTES = 1 << 28
# Words kept of each tuple part and exchange. A small preset has no more than this.
_KEEP = 4096
# Bundles that two parties make at once. Always as many, so that all views have the same shape.
_LOT = 16


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
    making: torch.Tensor


class BothParties:
    """A snapshot of one cohort, served privately by two recorded parties."""

    def __init__(
        self,
        spec: RanSpec,
        parameters: Mapping[str, Words],
        rule: Rule,
        *,
        keep: int = _KEEP,
        randomness: str = "dealer",
    ) -> None:
        """Share `parameters` (name -> uint64 (owners, *shape) at f) between the two parties.

        `keep`: how many words of each tuple part and exchange are recorded, and an eighth of it of
        each message by which two parties make tuples. `randomness`: who makes it, as in a party's
        file.
        """
        self._spec, self._rule, self._keep = spec, rule, keep
        self._weights = {name: _shares(words) for name, words in parameters.items()}
        self._masked = fresh_masks()
        self._expanded = WeightMasks(_KEPT_MASKS_BYTES)
        self._parties: TwoParties | None = None
        self._plan: list[TupleKind] = []
        self._ready: list[tuple[RecordingBundle, RecordingBundle]] = []
        # The first run also opens the weights, once; queries come after it, as at the servers.
        nothing = np.zeros((1, *spec.input_shape), np.uint64)
        if randomness == "dealer":
            self._ask(nothing)
            return
        owners = len(next(iter(parameters.values())))
        self._parties = TwoParties(tuple(owner.to_bytes(8, "little") for owner in range(owners)))
        # The second one shows what a run uses when all that depends on weights alone is there.
        for _ in range(2):
            supplies = self._parties.live()
            self._ask(nothing, supplies)
            self._plan = supplies[0].used

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
            weights={name: shares[party] for name, shares in self._weights.items()},
            masked_weights=self._masked[party].opened,
            image_share=torch.cat([each.image for each in seen]),
            answer_share=torch.cat([each.answer for each in seen]),
            seeds=torch.stack([each.seed for each in seen]),
            masks=torch.stack([each.masks for each in seen]),
            sent=torch.stack([each.sent for each in seen]),
            received=torch.stack([each.received for each in seen]),
            making=torch.stack([each.making for each in seen]),
            word_bits=word_bits(self._spec),
        )

    def _ask(self, image: Words, supplies: Sequence[Supply] | None = None) -> tuple[_Seen, _Seen]:
        shares = _shares(image)
        if supplies is None and self._parties is not None:
            self._ready = self._ready or self._parties.bundles(self._plan, _LOT)
            supplies = self._ready.pop()

        def program(engine: Engine[T], images: T, *weights: T) -> T:
            parameters = dict(zip(self._weights, weights, strict=True))
            return predict(engine, self._spec, parameters, images, self._rule)

        secrets = (shares, *self._weights.values())
        outcome = run(
            program,
            *secrets,
            masked=self._masked,
            bundles=supplies,
            dealer=self._dealer,
            record=True,
        )
        first, second = (
            self._cut(outcome.views[party], shares[party], outcome.shares[party])
            for party in (0, 1)
        )
        return first, second

    def _dealer(
        self, run: SessionId, seeds: tuple[bytes, bytes], weights: tuple[bytes, bytes], party: int
    ) -> DealerLink:
        """Expands the weights' masks once, as the dealer does."""
        masks = self._expanded
        return NearLink(Dealer(run, seeds, weights, max_elements=_MAX_ELEMENTS, masks=masks), party)

    def _cut(self, record: Record, share: torch.Tensor, answer: torch.Tensor) -> _Seen:
        parts = [part for _, shares in record.tuples for part in (*shares.free, *shares.derived)]
        return _Seen(
            image=share,
            answer=answer.reshape(1, -1),
            seed=torch.from_numpy(np.frombuffer(record.seed, np.int64).copy()),
            masks=self._first(parts),
            sent=self._first(record.sent),
            received=self._first(record.received),
            making=self._first([*record.making_received, *record.making_sent], self._keep // 8),
        )

    def _first(self, parts: Sequence[torch.Tensor], keep: int | None = None) -> torch.Tensor:
        kept = [part.reshape(-1)[: keep or self._keep].long() for part in parts]
        return torch.cat(kept) if kept else torch.empty(0, dtype=torch.int64)


def _shares(secret: Words) -> Shares:
    first, second = split(secret)
    return as_tensor(first), as_tensor(second)
