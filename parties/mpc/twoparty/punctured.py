"""Trees of seeds: one party has all 16 leaves, the other all but one, which the first cannot tell.

A binary tree of Goldreich, Goldwasser and Micali, of DEPTH levels. For each level the planter sends
the sum of all left nodes and the sum of all right nodes, each under a key of a base transfer. The
picker has the key of one side. With the nodes that it knows it finds the one that is missing there,
and so all leaves but the one that its choices lead to (Roy, CRYPTO 2022, section 5).

A planter that sends wrong sums on one side could learn the picker's choice from whether it goes on.
So the leaves have check words too, whose sum and hash are sent, and the picker compares.
"""

import hashlib
from collections.abc import Sequence

from parties.mpc.twoparty.base_ot import KEY_BYTES
from privedge.errors import TranscriptMismatch

DEPTH = 4
LEAVES = 1 << DEPTH
_CHECK_BYTES = 32
# Two sums for each level, the sum of the check words and their hash.
MESSAGE_BYTES = 2 * DEPTH * KEY_BYTES + 2 * _CHECK_BYTES


def planted(root: bytes, keys: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, list[bytes]]:
    """The message and all LEAVES seeds of the tree of this random `root`, of KEY_BYTES.

    keys: the two keys of each level's base transfer.
    """
    nodes, sent = [root], []
    for pair in keys:
        nodes = [child for node in nodes for child in _children(node)]
        for side, key in enumerate(pair):
            sent.append(_xor(_sum(nodes[side::2]), key))
    checks = [_check(node) for node in nodes]
    message = b"".join((*sent, _sum(checks), _digest(checks)))
    return message, [_seed(node) for node in nodes]


def picked(
    message: bytes, choices: Sequence[int], keys: Sequence[bytes]
) -> tuple[int, list[bytes | None]]:
    """The place of the missing leaf, and all seeds; None at that place.

    choices, keys: of each level's base transfer. The path takes the other side of each choice.
    Raises TranscriptMismatch if the sums are not those of one tree.
    """
    if len(message) != MESSAGE_BYTES:
        raise TranscriptMismatch("trees of seeds: a message of the wrong length")
    missing = 0
    nodes: list[bytes | None] = [None]
    for level, (side, key) in enumerate(zip(choices, keys, strict=True)):
        # The missing node has two children, and on `side` all others are known.
        at = (2 * level + side) * KEY_BYTES
        total = _xor(message[at : at + KEY_BYTES], key)
        nodes = [child for node in nodes for child in (_children(node) if node else (None, None))]
        known = [node for node in nodes[side::2] if node is not None]
        nodes[2 * missing + side] = _sum([total, *known])
        missing = 2 * missing + 1 - side
    checks = [_check(node) if node else bytes(_CHECK_BYTES) for node in nodes]
    total, digest = message[-2 * _CHECK_BYTES : -_CHECK_BYTES], message[-_CHECK_BYTES:]
    checks[missing] = _sum([total, *checks])
    if _digest(checks) != digest:
        raise TranscriptMismatch("trees of seeds: the other party's sums are of no tree")
    return missing, [_seed(node) if node else None for node in nodes]


def _children(node: bytes) -> tuple[bytes, bytes]:
    wide = hashlib.sha256(b"privedge tree node v1" + node).digest()
    return wide[:KEY_BYTES], wide[KEY_BYTES:]


def _seed(leaf: bytes) -> bytes:
    return hashlib.sha256(b"privedge tree seed v1" + leaf).digest()[:KEY_BYTES]


def _check(leaf: bytes) -> bytes:
    return hashlib.sha256(b"privedge tree check v1" + leaf).digest()


def _digest(checks: Sequence[bytes]) -> bytes:
    return hashlib.sha256(b"privedge tree checks v1" + b"".join(checks)).digest()


def _sum(parts: Sequence[bytes]) -> bytes:
    total = bytes(len(parts[0]))
    for part in parts:
        total = _xor(total, part)
    return total


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
