"""Base transfers, trees of seeds, and the extension with its check."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.twoparty import base_ot, punctured
from parties.mpc.twoparty.extension import (
    BLOCKS,
    MOST,
    Picking,
    Planting,
    Receiver,
    _transcript,
    message_bytes,
)
from parties.mpc.twoparty.keys import bits_of
from privedge.errors import TranscriptMismatch
from privedge.sharing.ring import Words
from tests.chance import fair
from tests.unit.mpc.twoparty.together import extension

_PAIRING = b"a pairing"
# A point of order 8, the neutral one, and no point at all.
_SMALL_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
_NEUTRAL = b"\1" + bytes(31)
_NONE = b"\xff" * 32


@pytest.fixture(scope="module")
def planting() -> Planting:
    return Planting(_PAIRING)


def test_a_chooser_has_the_key_of_its_choice_and_not_the_other() -> None:
    choices = [0, 1, 1, 0, 1]
    sender = base_ot.Sender(_PAIRING)
    chooser = base_ot.Chooser(_PAIRING, sender.point, choices)
    pairs = sender.keys(chooser.points)
    for choice, pair, key in zip(choices, pairs, chooser.keys(), strict=True):
        assert pair[choice] == key != pair[1 - choice]
    assert len({key for pair in pairs for key in pair}) == 2 * len(choices)


def test_keys_of_another_pairing_are_others() -> None:
    sender = base_ot.Sender(_PAIRING)
    chooser = base_ot.Chooser(b"another", sender.point, [0])
    assert chooser.keys()[0] not in sender.keys(chooser.points)[0]


@pytest.mark.parametrize("point", [_SMALL_ORDER, _NEUTRAL, _NONE, b"", bytes(31)])
def test_what_is_no_point_of_the_group_is_refused(point: bytes) -> None:
    with pytest.raises(TranscriptMismatch):
        base_ot.Chooser(_PAIRING, point, [0])
    with pytest.raises(TranscriptMismatch):
        base_ot.Sender(_PAIRING).keys(point or b"x")


def _tree(choices: list[int]) -> tuple[bytes, list[bytes], list[bytes]]:
    keys = [(os.urandom(16), os.urandom(16)) for _ in range(punctured.DEPTH)]
    message, leaves = punctured.planted(os.urandom(16), keys)
    return message, leaves, [pair[choice] for pair, choice in zip(keys, choices, strict=True)]


@pytest.mark.parametrize("missing", range(punctured.LEAVES))
def test_a_picker_has_all_leaves_but_one(missing: int) -> None:
    choices = [1 - (missing >> bit & 1) for bit in reversed(range(punctured.DEPTH))]
    message, leaves, keys = _tree(choices)
    at, seeds = punctured.picked(message, choices, keys)
    assert at == missing
    assert seeds == [None if x == missing else leaf for x, leaf in enumerate(leaves)]


@pytest.mark.parametrize("byte", range(0, punctured.MESSAGE_BYTES, 16))
def test_wrong_sums_of_a_tree_are_refused_or_change_nothing(byte: int) -> None:
    """A planter that spoils one side's sum must not get leaves that are no tree's accepted."""
    choices = [1, 0, 1, 1]
    message, _, keys = _tree(choices)
    spoilt = bytearray(message)
    spoilt[byte] ^= 1
    level, side = divmod(byte // 16, 2)
    if level < punctured.DEPTH and side != choices[level]:
        # It has no key of that side, and so does not read it.
        assert punctured.picked(bytes(spoilt), choices, keys)[1].count(None) == 1
        return
    with pytest.raises(TranscriptMismatch, match="of no tree"):
        punctured.picked(bytes(spoilt), choices, keys)


@settings(max_examples=12)
@given(st.integers(1, 9), st.integers(1, 5))
def test_each_chosen_key_is_the_one_of_its_choice(rows: int, width: int) -> None:
    sender, receiver = _EXTENSION
    message, chosen = receiver.extend(rows, width)
    assert len(message) == message_bytes(rows, width)
    pairs = sender.extend(rows, width, message)
    for row in range(rows):
        zero, one = pairs.pads(row, 2)
        choice = bits_of(chosen.choice(row)).astype(bool)[:, None]
        assert np.array_equal(np.where(choice, one, zero), chosen.pad(row, 2))
        assert not np.any(zero == one)


_EXTENSION = extension(b"module")


def test_choices_and_keys_look_uniform() -> None:
    sender, receiver = _EXTENSION
    message, chosen = receiver.extend(8, 64)
    pairs = sender.extend(8, 64, message)
    bits = np.concatenate([bits_of(chosen.choice(row)) for row in range(8)])
    keys = np.concatenate([pairs.pads(row)[0].reshape(-1) for row in range(8)])
    corrections = np.frombuffer(message[: -129 * 16], np.uint8)
    assert fair(bits)
    assert fair(np.unpackbits(keys.view(np.uint8)))
    assert fair(np.unpackbits(corrections))


@pytest.mark.parametrize("part", ["first block", "last block", "masks", "choices", "a row", "end"])
def test_a_message_that_is_no_honest_ones_fails_its_check(part: str) -> None:
    """A receiver that is not consistent between blocks would learn bits of Delta. A changed
    correction is only seen where Delta has a bit, so a whole block's is changed: at most one of 16
    values of its part of Delta does not notice.
    """
    rows, width = 3, 2
    sender, receiver = extension(part.encode())
    message = bytearray(receiver.extend(rows, width)[0])
    words = rows * width + 2
    hashes = len(message) - 129 * 16
    at = {
        "first block": 16,
        "last block": (30 * words + 5) * 8,
        "masks": 0,
        "choices": hashes,
        "a row": hashes + 16 * 77,
        "end": len(message) - 1,
    }[part]
    if at < hashes:
        # All blocks, so that Delta notices but with probability 16^-31.
        for block in range(31):
            message[(at + block * words * 8) % hashes] ^= 1
    else:
        message[at] ^= 1
    with pytest.raises(TranscriptMismatch, match="failed its check"):
        sender.extend(rows, width, bytes(message))


class _Cheater(Receiver):
    """Sends one block another choice than the others, and hashes that are right for what it is."""

    cheated = 0

    def _expanded(self, words: int) -> tuple[Words, Words]:
        u, v = super()._expanded(words)
        u[self.cheated, -1] ^= np.uint64(1)
        return u, v


def test_who_cheats_in_one_block_passes_only_if_it_guessed_that_part_of_delta() -> None:
    """So passing tells it nothing that it had not guessed."""
    sender, honest = extension(b"guess")
    cheater = _Cheater(b"guess", [], b"")
    cheater.__dict__.update(honest.__dict__)
    for block in range(1, BLOCKS):
        cheater.cheated = block
        message, _ = cheater.extend(1, 1)
        # Of the 16 values of that part of Delta it had to guess that it is 0.
        if sender._missing[block] == 0:
            sender.extend(1, 1, message)
            continue
        with pytest.raises(TranscriptMismatch, match="failed its check"):
            sender.extend(1, 1, message)


@pytest.mark.parametrize("part", ["point", "points", "trees", "an earlier call", "width"])
def test_the_point_of_a_check_depends_on_all_that_was_said(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that knows the point before it plants its trees finds some that pass in 2^64."""
    seen: list[bytes] = []
    monkeypatch.setattr(
        "parties.mpc.twoparty.extension._hashed",
        lambda key, rows: seen.append(key) or bytes(16 * len(rows)),
    )

    def spoken(**changed: bytes) -> bytes:
        said = {"point": b"P" * 32, "points": b"p" * 64, "trees": b"t" * 64} | changed
        return extended(_transcript(_PAIRING, *said.values()))

    def extended(said: bytes, first: bytes = b"", width: int = 2) -> bytes:
        leaves = [[bytes(16)] * punctured.LEAVES] * BLOCKS
        receiver = Receiver(_PAIRING, leaves, said)
        if first:
            receiver._point_of((0, 1, 1), first)
        receiver.extend(2 // width, width)
        return seen[-1]

    plain = spoken()
    assert spoken() == plain
    said = _transcript(_PAIRING, b"P" * 32, b"p" * 64, b"t" * 64)
    match part:
        case "an earlier call":
            assert extended(said, first=b"one") != extended(said, first=b"other")
        case "width":
            assert extended(said, width=1) != plain
        case _:
            assert spoken(**{part: b"x" * 64}) != plain


@pytest.mark.parametrize("change", [-1, 1])
def test_a_message_of_another_length_is_refused(change: int) -> None:
    sender, receiver = extension(b"length")
    message, _ = receiver.extend(1, 1)
    with pytest.raises(TranscriptMismatch, match="wrong length"):
        sender.extend(1, 1, (message + b"x")[: len(message) + change])


def test_ends_that_are_apart_fail_the_check() -> None:
    """A call that failed is counted at both ends: no transfer is made twice."""
    sender, receiver = extension(b"apart")
    lost, _ = receiver.extend(1, 1)
    message, _ = receiver.extend(1, 1)
    with pytest.raises(TranscriptMismatch):
        sender.extend(1, 1, message)
    with pytest.raises(TranscriptMismatch):
        sender.extend(1, 1, lost)


def test_a_pairing_ends_after_so_many_transfers() -> None:
    _, receiver = extension(b"many")
    receiver._count = MOST - 63
    with pytest.raises(TranscriptMismatch, match="all it may"):
        receiver.extend(1, 1)


def test_trees_of_a_wrong_length_are_refused(planting: Planting) -> None:
    picking = Picking(_PAIRING, planting.point)
    with pytest.raises(TranscriptMismatch):
        planting.planted(picking.points[:-32])
    message, _ = planting.planted(picking.points)
    with pytest.raises(TranscriptMismatch):
        picking.picked(message[:-1])
