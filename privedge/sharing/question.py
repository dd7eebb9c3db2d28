"""What a client asks, in public: everything about a query but its share.

Each party receives the question with its own half of the query; they compare its digest before
anything is computed, so no run ever starts on halves that do not belong together.
"""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass

# Their dissimilarities are summed, and the sum must stay in the ring (mpc/decision.py).
MAX_IMAGES_OF_ONE_SUBJECT = 32


@dataclass(frozen=True)
class Question:
    """One batch of queries against one cohort.

    `query_id` is 32 hexadecimal digits, used once. `shape` is (batch, then the spec's input
    shape). `verify_owner` None asks which owner it is; a name asks whether it is that one. With
    `one_subject` all images of the batch show one subject and get one answer.
    """

    query_id: str
    cohort: str
    snapshot_id: str
    shape: tuple[int, ...]
    verify_owner: str | None = None
    one_subject: bool = False

    @property
    def words(self) -> int:
        """How many ring elements the query share has."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON text (sorted keys, no spaces)."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


def new_query_id() -> str:
    """A fresh 128-bit id, as 32 hexadecimal digits."""
    return secrets.token_hex(16)
