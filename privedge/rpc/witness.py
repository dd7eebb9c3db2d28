"""Who is told what passes a server's gate, and what does not. It is for audit logs."""

from collections.abc import Collection


class Witness:
    """Does nothing. Called in gRPC's serving thread, so whoever overrides this must not wait."""

    def refused(self, who: str, method: str) -> None:
        """A call was refused because of its caller's role, name or certificate.

        who: the URI of an identity; empty if the caller has none.
        """

    def admin_called(self, who: str, method: str) -> None:
        """A call of an admin was let in."""

    def deny_list_changed(
        self, added: Collection[str | int], removed: Collection[str | int]
    ) -> None:
        """The deny list was read again. Its entries are URIs, and serial numbers as integers."""
