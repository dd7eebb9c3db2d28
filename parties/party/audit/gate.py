"""What a party's gate tells its audit log."""

from collections.abc import Collection

from parties.party.audit.log import AuditLog
from privedge.rpc.witness import Witness


class GateWitness(Witness):
    """Counts refusals and admins' calls, and records changes of the deny list."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def refused(self, who: str, method: str) -> None:
        """See Witness."""
        self._audit.count("refusals", {"who": who, "method": method}, calls=1)

    def admin_called(self, who: str, method: str) -> None:
        """See Witness."""
        self._audit.count("admin calls", {"who": who, "method": method}, calls=1)

    def deny_list_changed(
        self, added: Collection[str | int], removed: Collection[str | int]
    ) -> None:
        """See Witness."""
        self._audit.soon("deny list", added=_texts(added), removed=_texts(removed))


def _texts(entries: Collection[str | int]) -> list[str]:
    return sorted(f"{entry:x}" if isinstance(entry, int) else entry for entry in entries)
