import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from privedge.rpc.channel import MAX_MESSAGE_BYTES
from privedge.rpc.chunks import CHUNK_BYTES, cut


@given(st.binary(max_size=100), st.integers(1, 40))
def test_the_pieces_are_full_but_the_last_and_make_up_the_whole(raw, size):
    pieces = list(cut(raw, size))
    assert b"".join(pieces) == raw
    assert all(len(piece) == size for piece in pieces[:-1])
    assert all(pieces)


def test_words_are_cut_by_bytes():
    words = np.arange(300_000, dtype="<u8")
    pieces = list(cut(memoryview(words)))
    assert [len(piece) for piece in pieces] == [CHUNK_BYTES] * 2 + [2_400_000 - 2 * CHUNK_BYTES]
    assert b"".join(pieces) == words.tobytes()


def test_a_chunk_leaves_room_in_a_message():
    assert CHUNK_BYTES * 2 < MAX_MESSAGE_BYTES
