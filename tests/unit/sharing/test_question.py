"""What is said in public of a query: how large it is, and a digest that both parties must have."""

import dataclasses
import hashlib
from pathlib import Path

import pytest

from privedge import Client
from privedge.sharing.question import (
    MAX_IMAGES_OF_ONE_SUBJECT,
    ROWS_ASKED_AGAIN,
    Question,
    new_query_id,
)

ASKED = Question("0" * 32, "faces", "1" * 64, (2, 3, 5))


def test_a_share_has_eight_bytes_for_each_number_and_fewer_if_words_are_narrow():
    assert (ASKED.words, ASKED.share_bytes) == (30, 240)
    assert dataclasses.replace(ASKED, word_bits=24).share_bytes == 90
    assert dataclasses.replace(ASKED, shape=()).words == 1


def test_unless_it_says_so_a_question_is_whose_each_image_is_and_no_repetition():
    assert (ASKED.verify_owner, ASKED.one_subject, ASKED.again) == (None, False, False)
    assert ASKED.word_bits == 64


def test_the_digest_is_that_of_the_sorted_text_without_what_older_releases_do_not_know():
    text = (
        '{"client":"ana","cohort":"faces","one_subject":false,"query_id":"' + "0" * 32 + '",'
        '"shape":[2,3,5],"snapshot_id":"' + "1" * 64 + '","verify_owner":null}'
    )
    assert ASKED.digest("ana") == hashlib.sha256(text.encode()).digest()
    newer = dataclasses.replace(ASKED, word_bits=24, again=True)
    text = text.replace("{", '{"again":true,').replace("null}", 'null,"word_bits":24}')
    assert newer.digest("ana") == hashlib.sha256(text.encode()).digest()


def test_a_query_id_has_128_bits_and_is_fresh_each_time():
    ids = {new_query_id() for _ in range(100)}
    assert len(ids) == 100 and all(len(bytes.fromhex(one)) == 16 for one in ids)


def test_a_question_cannot_be_changed_after_its_digest_was_told():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ASKED.again = True


def test_the_limits_are_those_that_clients_are_told():
    wire = (Path(__file__).parents[3] / "docs/reference/wire.md").read_text()
    assert f"at most {ROWS_ASKED_AGAIN} rows and `again`" in wire
    assert f"(at most {MAX_IMAGES_OF_ONE_SUBJECT})" in (Client.identify.__doc__ or "")
