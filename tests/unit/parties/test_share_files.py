"""parties/party/models/share_files.py on real files."""

import errno
import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.party.models.share_files import ShareFiles
from privedge.errors import DigestMismatch, LimitExceeded, ShareError
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)

SHAPES = ((3, 2), (1,), (5,))
RAW = os.urandom(8 * 12)


def header_of(raw=RAW):
    entries, start, salt = [], 0, new_salt()
    for index, shape in enumerate(SHAPES):
        size = TensorEntry("", shape, ("", "")).share_bytes
        committed = commitment(salt, f"{index}.weight")
        committed.update(raw[start : start + size])
        commitments = ("0" * 64, committed.hexdigest())
        entries.append(TensorEntry(f"{index}.weight", shape, commitments))
        start += size
    manifest = ModelManifest(new_model_id(), "digits", "ana", "0" * 64, tuple(entries))
    return UploadHeader(manifest, salt)


@pytest.fixture
def files(tmp_path):
    return ShareFiles(tmp_path / "shares", party=1)


def names(files):
    return sorted(path.name for path in files.path("0" * 32).parent.iterdir())


@given(cuts=st.lists(st.integers(0, len(RAW)), max_size=12))
def test_a_share_is_stored_alike_however_it_was_cut(tmp_path_factory, cuts):
    files = ShareFiles(tmp_path_factory.mktemp("shares"), party=1)
    bounds = [0, *sorted(cuts), len(RAW)]
    header = header_of()
    files.store(header, (RAW[a:b] for a, b in itertools.pairwise(bounds)))
    assert files.path(header.manifest.model_id).read_bytes() == RAW
    assert names(files) == [f"{header.manifest.model_id}.words"]


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (RAW[:-1], ShareError),
        (b"", ShareError),
        (RAW + b"\0", ShareError),
        (bytes([RAW[0] ^ 1]) + RAW[1:], DigestMismatch),
        (RAW[:-1] + bytes([RAW[-1] ^ 1]), DigestMismatch),
    ],
    ids=["one fewer", "none", "one more", "another first", "another last"],
)
def test_other_bytes_than_announced_leave_no_file(files, sent, error):
    with pytest.raises(error):
        files.store(header_of(), iter([sent]))
    assert names(files) == []


def test_a_tensor_that_is_wrong_is_noticed_before_the_next_is_read(files):
    def chunks():
        yield bytes(8 * 6)
        raise AssertionError("read on")

    with pytest.raises(DigestMismatch, match=r"0\.weight"):
        files.store(header_of(), chunks())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_limit_and_leaves_no_file(files, code):
    def chunks():
        yield RAW[:8]
        raise OSError(code, "no room")

    with pytest.raises(LimitExceeded, match="disk is full"):
        files.store(header_of(), chunks())
    assert names(files) == []


def test_an_upload_that_breaks_off_leaves_no_file(files):
    def chunks():
        yield RAW[:8]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        files.store(header_of(), chunks())
    assert names(files) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 32, "a" * 31, "a" * 32 + "\n"])
def test_only_ids_become_file_names(files, name):
    with pytest.raises(ShareError):
        files.path(name)


def test_a_held_file_is_removed_when_its_last_holder_lets_go(files):
    header = header_of()
    files.store(header, [RAW])
    path = files.path(header.manifest.model_id)
    with files.hold((header.manifest.model_id,)):
        with files.hold((header.manifest.model_id,)):
            files.remove(header.manifest.model_id)
        assert path.exists()
    assert not path.exists()


def test_a_file_that_was_only_held_stays(files):
    header = header_of()
    files.store(header, [RAW])
    with files.hold((header.manifest.model_id,)):
        pass
    assert files.path(header.manifest.model_id).exists()


def test_a_start_sweeps_away_what_nobody_wants(files):
    kept, dropped = header_of(), header_of()
    for header in (kept, dropped):
        files.store(header, [RAW])
    model_id = kept.manifest.model_id
    folder = files.path(model_id).parent
    (folder / f"{model_id}.0123456789abcdef.partial").write_bytes(b"half")
    (folder / "README").write_text("the operator's own")
    files.sweep({model_id})
    assert names(files) == sorted([f"{model_id}.words", "README"])
