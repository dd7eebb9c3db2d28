"""The public rivals of cohorts, as both parties have them. Sees public facts."""

from collections.abc import Callable, Sequence
from typing import Any

from privedge.client.cohort import Cohort
from privedge.client.exchange import Party
from privedge.errors import ConfigError, ManifestMismatch
from privedge.ran.rivals import Rivals
from privedge.rpc import codec
from privedge.wire import party_pb2 as pb


class PublicModels:
    """Rivals that were asked for before are kept by their digest. Safe to call from any thread."""

    def __init__(
        self, parties: Sequence[Party], told: Callable[[Party, Callable[..., Any], Any], Any]
    ) -> None:
        """`told(party, method, request)` makes a call."""
        self._parties, self._told = parties, told
        self._known: dict[str, Rivals] = {}

    def of(self, cohort: Cohort) -> Rivals:
        """The rivals of which both parties have the digest that they describe. Raises
        ManifestMismatch.
        """
        if (known := self._known.get(cohort.rivals_sha256)) is not None:
            return known
        request = pb.DescribeCohortRequest(cohort=codec.cohort_asked(cohort.name), with_rivals=True)
        rows = {
            self._told(party, party.stub.DescribeCohort, request).rivals_rows
            for party in self._parties
        }
        try:
            found = [Rivals.from_bytes(each, cohort.spec.input_shape) for each in rows]
        except ConfigError as error:
            raise ManifestMismatch(f"cohort {cohort.name}: {error}") from None
        if len(found) != 1 or found[0] is None or found[0].digest != cohort.rivals_sha256:
            raise ManifestMismatch(
                f"cohort {cohort.name}: its public rivals are not those of its description; "
                "ask again, and tell both operators if it stays so"
            )
        self._known[cohort.rivals_sha256] = found[0]
        return found[0]
