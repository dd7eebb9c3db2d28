"""What both parties say of a cohort."""

from collections.abc import Iterable
from dataclasses import dataclass

from privedge.errors import ConfigError, ManifestMismatch
from privedge.graph.spec import ModelSpec
from privedge.ran.any_spec import Spec
from privedge.ran.rivals import Rivals
from privedge.sharing import known
from privedge.sharing.ring import RING_BITS


@dataclass(frozen=True)
class Cohort:
    """The description of a cohort on which both parties agree. Every field is public.

    Attributes:
        name: the name of the cohort, as `identify` and `verify` accept it.
        spec: the architecture of every model, and the size to which pictures are brought; or the
            graph of the one model that the cohort serves, for `predict`.
        margin, mean_share: the rule for "unknown". The best model answers if its error is below
            `margin` times a reference. The reference is (1 - `mean_share`) times the second-best
            error plus `mean_share` times the mean error of all models.
        rivals: how many public rivals the best model must beat too: its error must be below
            `margin` times each of theirs.
        rivals_sha256: the digest of the rivals' file (privedge.ran.rivals); empty without any.
        public_owners: so many of the rivals, the first ones, can be an answer; it is read as
            "unknown".
        word_bits: how many bits a word of a query has.
        owners: the names of the owners with an active model, in the order of the answer vector.
        snapshot_id: the id of this set of models; every query carries it.
        max_batch: the most pictures that one query may hold; the client splits larger batches.
    """

    name: str
    spec: Spec
    margin: float
    owners: tuple[str, ...]
    snapshot_id: str
    max_batch: int
    mean_share: float = 0.0
    rivals: int = 0
    rivals_sha256: str = ""
    public_owners: int = 0
    word_bits: int = RING_BITS

    @property
    def never_unknown(self) -> str:
        """Why this cohort never answers "unknown", as in "its margin is 1"; empty if it may.

        The models may have thresholds of their own, which only their owners know. Of a model that
        is no RAN nobody expects it.
        """
        if isinstance(self.spec, ModelSpec):
            return ""
        return known.never_unknown(self.margin, len(self.owners), self.rivals)


def agreed_rivals(cohort: Cohort, rows: Iterable[bytes]) -> Rivals:
    """Read the public rivals of a cohort of RANs, which each party sends as rows of bytes.

    Raises ManifestMismatch unless all are those of the description.
    """
    try:
        found = [Rivals.from_bytes(each, cohort.spec.input_shape) for each in rows]
    except ConfigError as error:
        raise ManifestMismatch(f"cohort {cohort.name}: {error}") from None
    if len(found) != 1 or found[0] is None or found[0].digest != cohort.rivals_sha256:
        raise ManifestMismatch(
            f"cohort {cohort.name}: its public rivals are not those of its description; "
            "ask again, and tell both operators if it stays so"
        )
    return found[0]
