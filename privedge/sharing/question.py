"""The public part of a query: everything but its shares.

Each party receives the question with its own share of the query. The parties compare the question's
digest before anything is computed, so no run ever starts on shares that do not belong together.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass

from privedge.sharing.ring import RING_BITS, width

# The images' dissimilarities are summed, and the sum must stay in range (mpc/decision.py).
MAX_IMAGES_OF_ONE_SUBJECT = 32
# A client that doubts an answer asks about it again, with so many rows in all. Budgets keep as many
# for it (client/canaries.py).
ROWS_ASKED_AGAIN = 16


@dataclass(frozen=True)
class Question:
    """One batch of queries against one cohort.

    `query_id` is 32 hexadecimal digits, used once. `shape` is (batch, *input_shape of the spec). If
    `verify_owner` is None, the question is which owner it is; else, whether it is that owner. With
    `one_subject`, all images of the batch show one subject and get one answer. The words are shared
    modulo 2^word_bits. `again`: it settles a doubt about an answer that its client just had.
    """

    query_id: str
    cohort: str
    snapshot_id: str
    shape: tuple[int, ...]
    verify_owner: str | None = None
    one_subject: bool = False
    word_bits: int = RING_BITS
    again: bool = False

    @property
    def words(self) -> int:
        """The number of ring elements in a share of the query."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def share_bytes(self) -> int:
        """The size of a share of the query, in bytes."""
        return width(self.word_bits) * self.words

    def digest(self, client: str) -> bytes:
        """Return the SHA-256 of the canonical JSON text (sorted keys, no spaces).

        `client` is the name of who asks: halves of two clients never belong together.
        """
        facts = {**vars(self), "client": client}
        if self.word_bits == RING_BITS:  # as releases without narrow words say it
            del facts["word_bits"]
        if not self.again:  # likewise
            del facts["again"]
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


def new_query_id() -> str:
    """Draw a fresh 128-bit id, as 32 hexadecimal digits."""
    return secrets.token_hex(16)
