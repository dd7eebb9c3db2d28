"""What one query cost one party. Functions of public shapes and of time, never of values."""

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Cost:
    """Exchanges with the other party, bytes sent to it, correction bytes received from the dealer;
    seconds waiting for a worker, loading shares, dealing and computing.
    """

    rounds: int = 0
    bytes_to_peer: int = 0
    bytes_from_dealer: int = 0
    queue_s: float = 0.0
    load_s: float = 0.0
    online_s: float = 0.0

    def plus(self, other: "Cost") -> "Cost":
        """Both together."""
        return Cost(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Cost)))
