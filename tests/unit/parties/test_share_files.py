"""parties/party/models/share_files.py on real files."""

import errno
import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.at_rest.vault import Vault
from parties.party.models.checked_shares import copied
from parties.party.models.share_files import ShareFiles
from parties.party.models.tables import Model, State
from parties.party.models.trash import Trash
from privedge.errors import DigestMismatch, DiskFull, ShareError
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
    return share_files(tmp_path)


def share_files(folder):
    return ShareFiles(folder / "shares", Trash(folder / "trash"), Vault(1))


def names(files):
    return sorted(path.name for path in files.path("0" * 32).parent.iterdir())


@given(cuts=st.lists(st.integers(0, len(RAW)), max_size=12))
def test_a_share_is_stored_alike_however_it_was_cut(tmp_path_factory, cuts):
    files = share_files(tmp_path_factory.mktemp("state"))
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
def test_w26_a_full_disk_is_the_operators_and_leaves_no_file(files, code):
    def chunks():
        yield RAW[:8]
        raise OSError(code, "no room")

    with pytest.raises(DiskFull, match="disk is full"):
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


def test_a_pipe_in_place_of_a_share_is_no_share_and_nobody_waits(files, tmp_path):
    row = row_of(header_of())
    os.mkfifo(files.path(row.model_id))
    wrong = f"model {row.model_id}: its share cannot be read (it is no plain file)"
    assert files.fault(row) == wrong
    held_open = os.open(files.path(row.model_id), os.O_RDWR)
    assert files.fault(row) == wrong
    os.close(held_open)
    with pytest.raises(OSError, match="no plain file"):
        copied(files.path(row.model_id), tmp_path / "copy", row, Vault(1))


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


def row_of(header, state=State.UPLOADED):
    manifest = header.manifest
    return Model(
        model_id=manifest.model_id,
        state=state,
        manifest_json=manifest.to_json(),
        manifest_digest=manifest.digest(),
        salt=header.salt,
    )


def in_trash(tmp_path):
    return sorted(path.name.partition(".")[2] for path in (tmp_path / "trash").iterdir())


def test_w18_a_start_moves_what_nobody_wants_and_removes_nothing(files, tmp_path):
    kept, dropped = header_of(), header_of()
    for header in (kept, dropped):
        files.store(header, [RAW])
    model_id = kept.manifest.model_id
    folder = files.path(model_id).parent
    half = f"{model_id}.0123456789abcdef.partial"
    (folder / half).write_bytes(b"half")
    (folder / "README").write_text("the operator's own")
    files.tidy({model_id: row_of(kept)})
    assert names(files) == sorted([f"{model_id}.words", "README"])
    assert in_trash(tmp_path) == sorted([half, f"{dropped.manifest.model_id}.words"])
    assert files.revive(dropped.manifest.model_id)
    assert files.path(dropped.manifest.model_id).read_bytes() == RAW


@pytest.mark.parametrize(("written", "named"), [(RAW, True), (RAW[:-1], False)], ids=["all", "cut"])
def test_an_upload_that_was_registered_gets_its_name_at_the_next_start(
    files, tmp_path, written, named
):
    header = header_of()
    model_id = header.manifest.model_id
    (files.path(model_id).parent / f"{model_id}.0123456789abcdef.partial").write_bytes(written)
    files.tidy({model_id: row_of(header)})
    assert files.path(model_id).exists() == named
    assert len(in_trash(tmp_path)) == (not named)


def test_a_share_is_registered_when_it_is_on_disk_and_before_it_has_its_name(files):
    header, seen = header_of(), []
    files.store(header, [RAW], lambda: seen.extend(names(files)))
    (half,) = seen
    assert half.endswith(".partial")
    assert files.there() == {header.manifest.model_id}


def test_a_retired_share_waits_and_one_that_is_deleted_goes_at_once(files, tmp_path):
    header = header_of()
    model_id = header.manifest.model_id
    files.store(header, [RAW])
    with files.hold((model_id,)):
        files.retire(model_id)
        assert files.path(model_id).exists()
    assert (names(files), in_trash(tmp_path)) == ([], [f"{model_id}.words"])
    assert files.lost({model_id, "0" * 32}) == {"0" * 32}
    files.remove(model_id)
    assert in_trash(tmp_path) == []


def test_a_retired_share_that_is_still_held_can_be_kept(files, tmp_path):
    header = header_of()
    model_id = header.manifest.model_id
    files.store(header, [RAW])
    with files.hold((model_id,)):
        files.retire(model_id)
        assert files.revive(model_id)
    assert files.path(model_id).exists()


def test_the_trash_is_emptied_by_age_and_of_what_owners_deleted(files, tmp_path):
    old, new, gone = (f"{digit * 32}.words" for digit in "abc")
    for seconds, name in ((100, old), (10_000, new), (10_000, gone)):
        (tmp_path / "trash" / f"{seconds}000000.{name}").write_bytes(b"share")
    (tmp_path / "trash" / "README").write_text("the operator's own")
    files.empty_trash(1, lambda ids: ids & {"c" * 32}, now=100 + 86_399)
    assert in_trash(tmp_path) == ["", old, new]
    files.empty_trash(1, lambda ids: set(), now=100 + 86_400)
    assert in_trash(tmp_path) == ["", new]


def test_of_the_models_that_one_owner_replaced_the_newest_wait(files, tmp_path):
    names_ = [f"{digit * 32}.words" for digit in "abcd"]
    for seconds, name in enumerate(names_):
        (tmp_path / "trash" / f"{seconds}.{name}").write_bytes(b"share")
    files.forget_all_but(2, [digit * 32 for digit in "abc"])
    assert in_trash(tmp_path) == names_[1:]


def test_two_files_of_one_name_both_wait(files, tmp_path):
    header = header_of()
    model_id = header.manifest.model_id
    for _ in range(2):
        files.store(header, [RAW])
        files.retire(model_id)
    assert in_trash(tmp_path) == [f"{model_id}.words"] * 2
