"""The cost of one query at one party: functions of public shapes and of time, never of values."""

from collections.abc import Iterable
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Phase:
    """The exchanges with the other party for one purpose, and the bytes sent to it in them."""

    name: str
    rounds: int = 0
    bytes_to_peer: int = 0

    def plus(self, other: "Phase") -> "Phase":
        """Return the sum of both, under the name of the first."""
        return Phase(
            self.name, self.rounds + other.rounds, self.bytes_to_peer + other.bytes_to_peer
        )


@dataclass(frozen=True)
class Cost:
    """The cost of one query at one party.

    A party may serve several queries in one run. Then every figure but two is the whole run's.
    `queue_s` runs from the moment this party has the query in full until its run starts. `online_s`
    starts when party 0 knows that both parties have the query in full (at party 1: when it has the
    query in full). It ends when this party has its answer share, and includes waiting for a worker.
    A worker's own report of `online_s` covers only the computation.

    Attributes:
        rounds: exchanges with the other party.
        bytes_to_peer: bytes sent to the other party.
        bytes_from_dealer: bytes of corrections received from the dealer.
        queue_s, load_s, online_s: seconds of waiting for a worker, of loading shares, and of
            dealing and computing (online phase).
        offline_s: seconds spent ahead on preparing the correlated randomness (offline phase); 0 if
            the dealer served it during the run.
        phases: the exchanges by purpose, in the order of the computation: "network", "decision",
            and "weights" if a run opens the masked weights. The network's "normalisation" and
            "output" (tanh or clip) are listed separately.
    """

    rounds: int = 0
    bytes_to_peer: int = 0
    bytes_from_dealer: int = 0
    queue_s: float = 0.0
    load_s: float = 0.0
    online_s: float = 0.0
    offline_s: float = 0.0
    phases: tuple[Phase, ...] = ()

    def plus(self, other: "Cost") -> "Cost":
        """Return the sum of both; phases of one name are added up."""
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(Cost)
            if field.name != "phases"
        }
        return Cost(**sums, phases=_merged((*self.phases, *other.phases)))


def _merged(phases: Iterable[Phase]) -> tuple[Phase, ...]:
    by_name: dict[str, Phase] = {}
    for phase in phases:
        known = by_name.get(phase.name)
        by_name[phase.name] = known.plus(phase) if known else phase
    return tuple(by_name.values())
