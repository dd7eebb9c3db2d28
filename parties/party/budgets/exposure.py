"""What an owner is told of how its cohort was asked: counts, and never a client's name."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Exposure:
    """One party's counts of the running day and the 30 before it.

    days: (days since 1970 in UTC, rows asked), the oldest first; days without any are left out.
    identities: how many clients asked. largest: the most rows of one client.
    named: rows of `verify` that asked about this owner.
    activated, refused: models of the cohort, of all owners.
    """

    days: tuple[tuple[int, int], ...] = ()
    identities: int = 0
    largest: int = 0
    named: int = 0
    activated: int = 0
    refused: int = 0

    @staticmethod
    def of(
        names: Mapping[str, Mapping[int, int]],
        named: Mapping[int, int],
        activated: int,
        refused: int,
    ) -> "Exposure":
        """Add up what clients asked by the day. The empty name, of all of them, is left out."""
        clients = {name: days for name, days in names.items() if name and days}
        rows: dict[int, int] = {}
        for days in clients.values():
            for day, count in days.items():
                rows[day] = rows.get(day, 0) + count
        return Exposure(
            days=tuple(sorted(rows.items())),
            identities=len(clients),
            largest=max((sum(days.values()) for days in clients.values()), default=0),
            named=sum(named.values()),
            activated=activated,
            refused=refused,
        )
