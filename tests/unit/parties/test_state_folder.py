"""Starting a party on folders and registries that do not fit: SQLite files and shares are real."""

import json
import os
import random
import shutil
import sqlite3
from contextlib import ExitStack, closing

import pytest
from test_model_service import ANA, BEN, COHORT, Parties, settings, shares_of

from parties.config.sections import DiskSection
from parties.party.models.disk import Disk
from parties.party.models.folder_identity import BLOCK, IdentityFile
from parties.party.models.state_folder import open_models
from privedge.errors import ConfigError, DiskFull


def state(folder, party):
    return folder / f"party{party}"


def shares(folder, party):
    """Contents of every share file of a party, in the folder or the trash."""
    return {path.read_bytes() for path in state(folder, party).glob("*/*.words")}


def refused(folder, party, **changes):
    """The line with which a party does not start."""
    config = settings(folder, party).model_copy(update=changes)
    with pytest.raises(ConfigError) as error, open_models(config, None):
        pass
    line = str(error.value)
    assert "\n" not in line
    return line


def starts(folder, party):
    with open_models(settings(folder, party), None) as models:
        return models.snapshot(COHORT).owners


@pytest.fixture
def folder(tmp_path):
    """Both parties' folders with two active models, and the registries from before the second."""
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.meet()
        parties.activated(ANA)
        for party in (0, 1):
            copied(state(tmp_path, party), tmp_path / f"before{party}.sqlite")
        parties.activated(BEN)
    return tmp_path


def copied(source, target):
    registry = source / "registry.sqlite"
    with closing(sqlite3.connect(registry)) as file, closing(sqlite3.connect(target)) as copy:
        file.backup(copy)


def replaced(folder, party, registry):
    """Another registry in place of a party's."""
    for path in state(folder, party).glob("registry.sqlite*"):
        path.unlink()
    if registry is not None:
        shutil.copy(registry, state(folder, party) / "registry.sqlite")


# --- W-18: empty, other, older --------------------------------------------------------------------


def an_empty_database(folder):
    path = folder / "empty.sqlite"
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE other (x)")
    return path


def another_partys(folder, party):
    with ExitStack() as stack:
        Parties(folder / "others", stack).activated(ANA)
    return folder / f"others/party{party}/registry.sqlite"


@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder, party: None, "it is empty"),
        (lambda folder, party: an_empty_database(folder), "it is empty"),
        (another_partys, "another state folder"),
        (lambda folder, party: folder / f"before{party}.sqlite", "it is older"),
    ],
    ids=["gone", "empty", "other", "older"],
)
def test_w18_no_share_is_lost_to_a_registry_that_does_not_fit(folder, party, make, says):
    kept = shares(folder, party)
    right = folder / "right.sqlite"
    copied(state(folder, party), right)
    replaced(folder, party, make(folder, party))
    assert says in refused(folder, party)
    assert shares(folder, party) == kept and len(kept) == 2
    replaced(folder, party, right)
    assert starts(folder, party) == ("ana", "ben")


def test_w18_a_wrong_registry_url_is_refused_and_nothing_is_written_there(folder):
    kept = shares(folder, 1)
    line = refused(folder, 1, registry_url=f"sqlite:///{folder / 'typo.sqlite'}")
    assert "correct registry_url" in line
    assert not (folder / "typo.sqlite").exists()
    assert shares(folder, 1) == kept


def test_w18_a_share_that_the_registry_never_had_is_refused_and_stays(folder):
    stranger = state(folder, 1) / "shares" / f"{'5' * 32}.words"
    stranger.write_bytes(b"somebody's")
    assert "never had 1 share file" in refused(folder, 1)
    assert stranger.read_bytes() == b"somebody's"
    stranger.unlink()
    assert starts(folder, 1) == ("ana", "ben")


def test_w18_a_deletion_that_a_kill_interrupted_ends_in_the_trash(folder):
    """The tombstone is there, the file still is too."""
    with open_models(settings(folder, 1), None) as models:
        (first, _) = models.snapshot(COHORT).models
        with closing(sqlite3.connect(state(folder, 1) / "registry.sqlite")) as file:
            file.execute(
                "UPDATE models SET state = 'deleted', salt = x'' WHERE model_id = ?",
                (first.model_id,),
            )
            file.commit()
    kept = shares(folder, 1)
    assert starts(folder, 1) == ("ben",)
    assert shares(folder, 1) == kept and not first.path.exists()
    with open_models(settings(folder, 1), None) as models:
        models.empty_trash()  # the owner wanted it gone
    assert len(shares(folder, 1)) == 1


# --- W-23: whose it is ----------------------------------------------------------------------------


@pytest.mark.parametrize("party", [0, 1])
def test_w23_the_other_partys_folder_is_refused(folder, party):
    kept = shares(folder, 1 - party)
    line = refused(folder, party, state=state(folder, 1 - party))
    assert f"this folder is party {1 - party}'s" in line
    assert shares(folder, 1 - party) == kept


@pytest.mark.parametrize("party", [0, 1])
def test_w23_the_other_partys_folder_from_before_identities_is_refused(folder, party):
    as_of_version_1(state(folder, 1 - party))
    line = refused(folder, party, state=state(folder, 1 - party))
    assert f"this folder is party {1 - party}'s" in line
    assert not (state(folder, 1 - party) / "identity.json").exists()


def as_of_version_1(path):
    """A folder as the last release left it."""
    (path / "identity.json").unlink()
    for name in ("trash", "reserve"):
        shutil.move(path / name, path.parent / f"{path.name}.{name}")
    with closing(sqlite3.connect(path / "registry.sqlite")) as file:
        file.execute("DROP TABLE state_folder")
        file.execute("UPDATE meta SET schema_version = 1")
        file.commit()


@pytest.mark.parametrize("party", [0, 1])
def test_a_folder_from_before_identities_is_taken_over_once_and_whole(folder, party):
    kept = shares(folder, party)
    as_of_version_1(state(folder, party))
    for _ in range(2):
        assert starts(folder, party) == ("ana", "ben")
    assert shares(folder, party) == kept
    assert IdentityFile(state(folder, party)).read().epoch == 1


def test_an_interrupted_first_start_is_gone_on_with(folder):
    as_of_version_1(state(folder, 1))
    identity = {"format": 1, "party": 1, "folder": "e" * 32, "deployment": "", "epoch": 0}
    (state(folder, 1) / "identity.json").write_text(json.dumps(identity).ljust(BLOCK))
    assert starts(folder, 1) == ("ana", "ben")
    assert IdentityFile(state(folder, 1)).read().folder == "e" * 32


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": 2}', "another format"),
        ('{"format": 1, "party": "0", "folder": "a"}', "is damaged"),
        ('{"format": 1, "party": 0, "folder": 5}', "is damaged"),
        ('{"format": 1, "party": 0, "folder": "a", "deployment": null}', "is damaged"),
        ('{"format": 1, "party": 0, "folder": "a", "epoch": "7"}', "is damaged"),
        ('{"format": 1, "party": 0, "folder": "a", "epoch": 0.5}', "is damaged"),
        ('{"format": 1, "party": false, "folder": "a"}', "is damaged"),
        (None, "no id"),
    ],
    ids=[
        "cut",
        "a list",
        "newer",
        "party a text",
        "folder a number",
        "no deployment",
        "epoch a text",
        "epoch a fraction",
        "party false",
        "gone",
    ],
)
def test_w23_an_identity_that_cannot_be_read_is_refused(folder, text, says):
    path, kept = state(folder, 0) / "identity.json", shares(folder, 0)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    assert says in refused(folder, 0)
    assert shares(folder, 0) == kept


def test_the_identity_file_is_one_block_that_only_its_user_may_read(folder):
    stat = (state(folder, 0) / "identity.json").stat()
    assert (stat.st_size, stat.st_mode & 0o777) == (BLOCK, 0o600)


# --- W-25: damage ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_c53_w25_a_registry_with_overwritten_pages_is_refused_or_right(folder, seed):
    path, kept = state(folder, 1) / "registry.sqlite", shares(folder, 1)
    raw = bytearray(path.read_bytes())
    dice = random.Random(seed)
    page = 4096 * dice.randrange(len(raw) // 4096)
    start = page + dice.choice((0, dice.randrange(4096)))
    raw[start : page + 4096] = dice.randbytes(page + 4096 - start)
    path.write_bytes(raw)
    try:
        assert starts(folder, 1) == ("ana", "ben")
    except ConfigError as error:
        assert str(error).startswith("registry: ") and "\n" not in str(error)
    assert shares(folder, 1) == kept


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE models SET owner = 'eve' WHERE owner = 'ana'",
        "UPDATE models SET manifest_json = replace(manifest_json, '0', '1')",
        "UPDATE models SET state = 'activ'",
        "UPDATE models SET salt = x'00'",
        "UPDATE models SET cohort = 'words'",
    ],
)
def test_w25_an_entry_that_contradicts_its_manifest_is_refused(folder, change):
    with closing(sqlite3.connect(state(folder, 1) / "registry.sqlite")) as file:
        file.execute(change)
        file.commit()
    assert "is damaged; put the newest backup" in refused(folder, 1)


# --- W-22, W-26: a full disk ----------------------------------------------------------------------


@pytest.fixture
def full_disk(tmp_path):
    """Both parties' folders on a disk of 8 MiB each, and a way to fill them to the last byte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with ExitStack() as mounts:
        for party in (0, 1):
            path = state(tmp_path, party)
            path.mkdir(mode=0o700)
            assert os.system(f"mount -t tmpfs -o size=8m,mode=0700 tmpfs {path}") == 0
            mounts.callback(os.system, f"umount -l {path}")
        yield lambda party: filled(state(tmp_path, party))


def filled(path):
    """Leave no byte, not even in the registry's write-ahead log."""
    with (path / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    assert os.statvfs(path).f_bavail == 0
    if (path / "registry.sqlite-wal").exists():
        with (
            closing(sqlite3.connect(path / "registry.sqlite")) as file,
            pytest.raises(sqlite3.OperationalError, match="full"),
        ):
            for page in range(PAGES):
                file.execute(f"PRAGMA user_version = {page}")
                file.commit()


# More than any write-ahead log has room for.
PAGES = 3000
SMALL = {"reserve_mib": 1, "min_free_percent": 0}


@pytest.mark.parametrize("party", [0, 1])
def test_w22_on_a_full_disk_an_upload_is_refused_and_a_deletion_makes_room(
    tmp_path, full_disk, party, caplog
):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, disk=SMALL)
        model_id = parties.activated(ANA)
        full_disk(party)
        headers, raw = shares_of(BEN)
        side = (parties.leader, parties.follower)[party]
        with pytest.raises(DiskFull):
            side.upload(headers[party], BEN, [raw[party]])
        parties.leader.delete(model_id, ANA)
        assert "the reserve is in use" in caplog.text
        parties.follower.delete(model_id, ANA)
        assert parties.agree and parties.leader.snapshot(COHORT).owners == ()
        assert not shares(tmp_path, party)
        (state(tmp_path, party) / "filler").unlink()
        side.empty_trash()
        assert (state(tmp_path, party) / "reserve").stat().st_size == 1 << 20
        side.upload(headers[party], BEN, [raw[party]])


def test_gameday_an_upload_does_not_take_the_room_that_the_reserve_gave_up(tmp_path, full_disk):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, disk=SMALL)
        full_disk(0)
        # As a registry does that finds no room.
        assert Disk(state(tmp_path, 0), DiskSection(**SMALL)).give_up()
        headers, raw = shares_of(BEN)
        with pytest.raises(DiskFull, match="min_free_percent"):
            parties.leader.upload(headers[0], BEN, [raw[0]])
        (state(tmp_path, 0) / "filler").unlink()
        parties.leader.upload(headers[0], BEN, [raw[0]])


@pytest.mark.parametrize("party", [0, 1])
def test_w22_a_party_starts_on_a_full_disk_and_activates(tmp_path, full_disk, party):
    with ExitStack() as stack:
        model_id = Parties(tmp_path, stack, disk=SMALL).uploaded(ANA)
    full_disk(party)
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, disk=SMALL)
        parties.leader.activate(model_id, ANA)
        parties.leader.synchronise()
        assert parties.agree and parties.leader.snapshot(COHORT).owners == ("ana",)


def test_w22_without_a_reserve_a_deletion_that_party_1_cannot_write_changes_nothing(
    tmp_path, full_disk
):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, disk={"reserve_mib": 0, "min_free_percent": 0})
        model_id = parties.activated(ANA)
        full_disk(1)
        with pytest.raises(DiskFull):
            parties.leader.delete(model_id, ANA)
        assert parties.agree and parties.leader.snapshot(COHORT).owners == ("ana",)


def test_w26_uploads_leave_a_part_of_the_disk_free(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, disk={"min_free_percent": 99.999})
        headers, raw = shares_of(ANA)
        with pytest.raises(DiskFull, match="min_free_percent"):
            parties.leader.upload(headers[0], ANA, [raw[0]])
        assert not shares(tmp_path, 0)
