"""A manifest: its text, its digest, the sizes it tells, and the commitments in it."""

import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privedge.sharing.manifest import (
    SALT_BYTES,
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)

entries = st.builds(
    TensorEntry,
    name=st.text(),
    shape=st.lists(st.integers(1, 100), max_size=4).map(tuple),
    commitments=st.tuples(st.text(), st.text()),
    word_bits=st.integers(1, 64),
)
manifests = st.builds(ModelManifest, tensors=st.lists(entries, max_size=4).map(tuple))


@given(manifests)
def test_a_manifest_survives_its_json(manifest):
    back = ModelManifest.from_json(manifest.to_json())
    assert back == manifest and hash(back) == hash(manifest)
    assert back.digest() == manifest.digest()


@given(manifests, manifests)
def test_manifests_have_one_digest_only_if_they_are_the_same(one, other):
    assert (one.digest() == other.digest()) == (one == other)


def test_every_field_is_in_the_digest():
    entry = TensorEntry("w", (2, 3), ("a", "b"))
    manifest = ModelManifest("id", "cohort", "owner", "spec", (entry,))
    changed = [
        dataclasses.replace(manifest, **{field: "other"})
        for field in ("model_id", "cohort", "owner", "spec_digest")
    ]
    fields = {"name": "v", "shape": (3, 2), "commitments": ("b", "a"), "word_bits": 24}
    for change in ({name: value} for name, value in fields.items()):
        changed.append(
            dataclasses.replace(manifest, tensors=(dataclasses.replace(entry, **change),))
        )
    assert len({one.digest() for one in [manifest, *changed]}) == 9


def test_the_digest_is_that_of_the_sorted_text_without_what_older_releases_do_not_know():
    entries = (TensorEntry("w", (2, 3), ("a", "b")), TensorEntry("v", (4,), ("c", "d"), 24))
    manifest = ModelManifest("id", "cohort", "owner", "spec", entries)
    text = (
        '{"cohort":"cohort","model_id":"id","owner":"owner","spec_digest":"spec","tensors":['
        '{"commitments":["a","b"],"name":"w","shape":[2,3]},'
        '{"commitments":["c","d"],"name":"v","shape":[4],"word_bits":24}]}'
    )
    assert manifest.to_json() == text
    assert manifest.digest() == hashlib.sha256(text.encode()).hexdigest()


def test_a_party_finds_the_commitments_to_its_own_share():
    entries = (TensorEntry("w", (1,), ("a", "b")), TensorEntry("v", (1,), ("c", "d")))
    manifest = ModelManifest("id", "cohort", "owner", "spec", entries)
    assert [manifest.commitments_of(party) for party in (0, 1)] == [("a", "c"), ("b", "d")]


def test_nothing_of_a_manifest_can_be_changed_after_its_digest_was_told():
    entry = TensorEntry("w", (2, 3), ("a", "b"))
    manifest = ModelManifest("id", "cohort", "owner", "spec", (entry,))
    for part, field in (
        (entry, "shape"),
        (manifest, "owner"),
        (UploadHeader(manifest, new_salt()), "manifest"),
    ):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, None)


def test_sizes_are_eight_bytes_a_word():
    one, two = TensorEntry("w", (2, 3), ("", "")), TensorEntry("b", (), ("", ""))
    assert (one.words, one.share_bytes, two.words) == (6, 48, 1)
    assert ModelManifest("", "", "", "", (one, two)).share_bytes == 56


def test_words_of_fewer_bits_have_fewer_bytes_and_64_bits_are_not_named():
    wide = TensorEntry("w", (2, 3), ("", ""))
    narrow = dataclasses.replace(wide, word_bits=24)
    manifest = ModelManifest("", "", "", "", (dataclasses.replace(narrow, name="v"), wide))
    assert (narrow.share_bytes, manifest.share_bytes) == (18, 66)
    assert [manifest.bits_of(name) for name in ("v", "w")] == [24, 64]
    assert manifest.to_json().count("word_bits") == 1


def test_a_model_id_is_fresh_each_time():
    ids = {new_model_id() for _ in range(100)}
    assert len(ids) == 100 and all(len(bytes.fromhex(one)) == 16 for one in ids)


def test_a_commitment_is_the_digest_of_salt_name_and_words():
    committed = commitment(b"\1" * 32, "0.weight")
    for part in (b"some ", b"words"):
        committed.update(part)
    whole = b"\1" * 32 + b"0.weight" + b"\0" + b"some words"
    assert committed.hexdigest() == hashlib.sha256(whole).hexdigest()


def test_a_salt_is_fresh_each_time():
    salts = {new_salt() for _ in range(100)}
    assert len(salts) == 100 and all(len(one) == SALT_BYTES == 32 for one in salts)


def test_a_header_does_not_show_its_salt():
    salt = new_salt()
    shown = repr(UploadHeader(ModelManifest("id", "cohort", "owner", "spec", ()), salt))
    assert repr(salt) not in shown and "salt" not in shown
