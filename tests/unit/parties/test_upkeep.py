"""parties/party/upkeep: backup, restore, verify and adopt on real SQLite files and shares."""

import argparse
import json
import os
import shutil
import sqlite3
import threading
from contextlib import ExitStack, closing

import pytest
from test_model_service import ANA, BEN, COHORT, Parties, settings

from parties.at_rest.key_ring import Key, KeyRing, write_keys
from parties.at_rest.vault import Vault
from parties.party.models.encryption import write_marker
from parties.party.models.look import live_models
from parties.party.models.state_folder import open_models
from parties.party.upkeep import backup as backups
from parties.party.upkeep import commands
from parties.party.upkeep.accept import accept_peer_log
from parties.party.upkeep.adopt import Wish, adopt
from parties.party.upkeep.backup import backup, restore
from parties.party.upkeep.verify import verify, verify_backup
from privedge.errors import BudgetSpent, ConfigError


@pytest.fixture
def folder(tmp_path):
    """Two stopped parties with two active models, and a backup of each in backup0, backup1."""
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.meet()
        for owner in (ANA, BEN):
            parties.activated(owner)
        for party in (0, 1):  # beside the running party
            assert backup(settings(tmp_path, party), tmp_path / f"backup{party}") == []
    return tmp_path


def state(folder, party):
    return folder / f"party{party}"


def shares(where):
    return {path.name: path.read_bytes() for path in (where / "shares").iterdir()}


def owners(folder, party):
    with open_models(settings(folder, party), None) as models:
        return models.snapshot(COHORT).owners


def lost(folder, party):
    shutil.rmtree(state(folder, party))


def one_share(where):
    return min((where / "shares").glob("*.words"))


class Killed(BaseException):
    """The process ends here."""


def killed(*_: object, **__: object):
    raise Killed


def flipped(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


# --- Backup and restore ---------------------------------------------------------------------------


@pytest.mark.parametrize("party", [0, 1])
def test_w44_a_backup_restores_to_what_it_was(folder, party):
    before = shares(state(folder, party))
    assert list(verify_backup(folder / f"backup{party}", Vault(party))) == []
    lost(folder, party)
    assert restore(settings(folder, party), folder / f"backup{party}") == []
    assert shares(state(folder, party)) == before
    assert list(verify(settings(folder, party))) == []
    assert owners(folder, party) == ("ana", "ben")


def test_a_backup_is_as_private_as_the_folder(folder):
    backed = folder / "backup0"
    assert {path.stat().st_mode & 0o077 for path in [backed, *backed.rglob("*")]} == {0}
    lost(folder, 0)
    restore(settings(folder, 0), backed)
    modes = {path.stat().st_mode & 0o077 for path in state(folder, 0).rglob("*")}
    assert modes == {0}


def test_both_parties_agree_after_a_restore_from_the_same_evening(folder):
    for party in (0, 1):
        lost(folder, party)
        restore(settings(folder, party), folder / f"backup{party}")
    with ExitStack() as stack:
        parties = Parties(folder, stack)
        assert parties.meet() == ((), ())
        assert parties.agree and parties.leader.snapshot(COHORT).owners == ("ana", "ben")


def test_w19_a_restore_can_raise_the_epoch_knowingly(folder):
    with ExitStack() as stack:
        parties = Parties(folder, stack)
        parties.activated(ANA)
        epoch = parties.leader.standing.mine.epoch
        parties.meet()
    lost(folder, 0)
    restore(settings(folder, 0), folder / "backup0", above=epoch)
    with ExitStack() as stack:
        parties = Parties(folder, stack)
        assert parties.meet() == ((), ())
        parties.leader.synchronise()  # party 1 takes the model of before back from its trash
        assert parties.agree and parties.leader.snapshot(COHORT).owners == ("ana", "ben")


def test_gameday_a_restore_that_ended_before_it_counted_budgets_does_not_start(folder, monkeypatch):
    """Or every client could have its budget twice."""
    lost(folder, 0)
    monkeypatch.setattr(backups, "note_spending", killed)
    with pytest.raises(Killed):
        restore(settings(folder, 0), folder / "backup0")
    with pytest.raises(ConfigError, match="identity"):
        owners(folder, 0)


def test_a_backup_while_models_come_and_go_fits_together(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.activated(ANA)
        done = threading.Event()

        def replacing():
            for _ in range(30):
                parties.activated(ANA)
            done.set()

        thread = threading.Thread(target=replacing)
        thread.start()
        made = []
        while not done.is_set() or not made:
            made.append(tmp_path / f"backup-{len(made)}")
            assert backup(settings(tmp_path, 1), made[-1]) == []
        thread.join()
        for each in made:
            assert list(verify_backup(each, Vault(1))) == []
            assert len(shares(each)) in (1, 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda made: (made / "backup.json").unlink(), "is this a finished backup"),
        (lambda made: (made / "backup.json").write_text("{"), "is damaged"),
        (lambda made: flipped(made / "registry.sqlite"), "another digest"),
        (lambda made: (made / "identity.json").unlink(), "identity.json: is missing"),
        (lambda made: renamed(made, "../../evil"), "names a file that no backup has"),
    ],
    ids=["unfinished", "cut", "registry", "identity", "path"],
)
def test_w25_a_damaged_backup_is_refused_and_restores_nothing(folder, change, says):
    made = folder / "backup1"
    change(made)
    assert any(says in line for line in verify_backup(made, Vault(1)))
    lost(folder, 1)
    with pytest.raises(ConfigError, match=says):
        restore(settings(folder, 1), made)
    assert not (state(folder, 1) / "identity.json").exists()


def renamed(made, name):
    fields = json.loads((made / "backup.json").read_text())
    fields["files"][name] = "0" * 64
    (made / "backup.json").write_text(json.dumps(fields))


def test_a_backup_with_one_damaged_share_restores_the_rest_and_names_it(folder):
    made = folder / "backup1"
    share = one_share(made)
    flipped(share)
    lost(folder, 1)
    faults = restore(settings(folder, 1), made)
    assert [share.stem in line or share.name in line for line in faults] == [True, True]
    assert owners(folder, 1) == ("ana", "ben")


def test_what_is_there_is_never_written_over(folder):
    with pytest.raises(ConfigError, match="restore beside it"):
        restore(settings(folder, 0), folder / "backup0")
    with pytest.raises(ConfigError, match="name a new folder"):
        backup(settings(folder, 0), folder / "backup0")
    with pytest.raises(ConfigError, match="a backup of party 1, and `index` is 0"):
        restore(settings(folder / "elsewhere", 0), folder / "backup1")


def test_a_backup_that_cannot_be_finished_leaves_no_folder(folder):
    one_share(state(folder, 1)).unlink()
    with pytest.raises(ConfigError, match="is missing"):
        backup(settings(folder, 1), folder / "new")
    assert [path.name for path in folder.iterdir() if "new" in path.name] == []


# --- Verify ---------------------------------------------------------------------------------------


def test_w25_verify_has_a_line_for_each_fault(folder):
    first, second = sorted((state(folder, 1) / "shares").glob("*.words"))
    flipped(first)
    second.unlink()
    lines = list(verify(settings(folder, 1)))
    assert [(first.stem in lines[0], "is damaged" in lines[0])] == [(True, True)]
    assert lines[1:] == [f"model {second.stem}: its share is missing"]


def test_gameday_a_backup_inside_the_folder_is_refused(folder):
    with pytest.raises(ConfigError, match="is inside `state`"):
        backup(settings(folder, 0), state(folder, 0) / "shares/monday")
    assert len(shares(state(folder, 0))) == 2


def others(path):
    """Give it to a user that this machine need not know; only root can."""
    for each in (path, *path.rglob("*")):
        os.chown(each, 12345, 12345)


def owned(where):
    """Whose each file is and when it was written; when it was read does not matter."""
    found = ((path, path.stat()) for path in where.rglob("*"))
    return {path: (each.st_uid, each.st_size, each.st_mtime_ns) for path, each in found}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write what another user cannot read")
def test_gameday_root_writes_nothing_into_another_users_folder(folder):
    # The party would not start any more: "Permission denied".
    others(state(folder, 0))
    before = owned(state(folder, 0))
    for change in (
        lambda: adopt(settings(folder, 0), Wish(above=90, forget_spending=True)),
        lambda: accept_peer_log(settings(folder, 0)),
        lambda: owners(folder, 0),
    ):
        with pytest.raises(ConfigError, match="runuser -u 12345"):
            change()
    assert owned(state(folder, 0)) == before
    lost(folder, 0)
    os.chown(folder, 12345, 12345)
    with pytest.raises(ConfigError, match="runuser -u 12345"):
        restore(settings(folder, 0), folder / "backup0")
    assert not state(folder, 0).exists()


def test_verify_runs_beside_the_party_and_changes_nothing(folder):
    with open_models(settings(folder, 1), None) as models:
        assert list(verify(settings(folder, 1))) == []
        assert models.snapshot(COHORT).owners == ("ana", "ben")


def test_verify_makes_no_folder(folder):
    (line,) = verify(settings(folder / "nowhere", 1))
    assert line.endswith("is not there") and not (folder / "nowhere").exists()


def test_w18_verify_says_what_a_start_would(folder):
    (state(folder, 1) / "registry.sqlite").unlink()
    (line,) = verify(settings(folder, 1))
    assert line.startswith("registry: it is empty")
    assert not (state(folder, 1) / "registry.sqlite").exists()


# --- Adopt ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("party", [0, 1])
def test_w18_a_lost_registry_is_replaced_by_a_backups_and_all_shares_stay(folder, party):
    before = shares(state(folder, party))
    (state(folder, party) / "registry.sqlite").unlink()
    with pytest.raises(ConfigError, match=r"--register.*--trash"):
        adopt(settings(folder, party), Wish())
    registry = folder / f"backup{party}/registry.sqlite"
    lines = adopt(settings(folder, party), Wish(register=registry, forget_spending=True))
    assert len(lines) == 3 and "belong together" in lines[-1]
    assert owners(folder, party) == ("ana", "ben")
    assert shares(state(folder, party)) == before


def test_w18_shares_that_nobody_knows_go_to_the_trash_on_an_order_only(folder):
    before = shares(state(folder, 1))
    (state(folder, 1) / "registry.sqlite").unlink()
    lines = adopt(settings(folder, 1), Wish(trash=True, forget_spending=True))
    assert sum("is in the trash" in line for line in lines) == 2
    assert owners(folder, 1) == ()
    waiting = {path.read_bytes() for path in (state(folder, 1) / "trash").iterdir()}
    assert waiting == set(before.values())


def test_w18_a_share_that_is_not_what_the_other_registry_says_is_not_registered(folder):
    flipped(one_share(state(folder, 1)))
    (state(folder, 1) / "registry.sqlite").unlink()
    wish = Wish(folder / "backup1/registry.sqlite", trash=True, forget_spending=True)
    lines = adopt(settings(folder, 1), wish)
    assert ["registered" in line for line in lines] == [True, False, False]


def test_an_older_registry_is_accepted_on_an_order_and_its_epoch_rises(folder):
    with ExitStack() as stack:
        Parties(folder, stack).activated(ANA)
    for path in state(folder, 0).glob("registry.sqlite*"):
        path.unlink()
    shutil.copy(folder / "backup0/registry.sqlite", state(folder, 0) / "registry.sqlite")
    with pytest.raises(ConfigError, match="it is older"):
        owners(folder, 0)
    with pytest.raises(ConfigError, match=r"--forget-spending .* or --count-as-spent"):
        adopt(settings(folder, 0), Wish(trash=True))
    adopt(settings(folder, 0), Wish(trash=True, forget_spending=False))
    spent = pytest.raises(BudgetSpent, match="an older registry was put back")
    with open_models(settings(folder, 0), None) as models, spent:
        models.budgets.query("carla", COHORT, 1)
    with pytest.raises(ConfigError, match="--forget-spending"):  # with an epoch, too
        adopt(settings(folder, 0), Wish(above=9))
    adopt(settings(folder, 0), Wish(above=9, forget_spending=True))
    with open_models(settings(folder, 0), None) as models:
        models.budgets.query("carla", COHORT, 1)
    assert owners(folder, 0) == ("ana", "ben")
    assert list(verify(settings(folder, 0))) == []


def test_what_fits_is_not_touched(folder):
    before = (state(folder, 0) / "identity.json").read_bytes()
    assert adopt(settings(folder, 0), Wish()) == [
        "nothing to adopt: folder and registry belong together"
    ]
    assert (state(folder, 0) / "identity.json").read_bytes() == before


def test_w23_the_other_partys_state_is_never_adopted(folder):
    theirs = settings(folder, 0).model_copy(update={"state": state(folder, 1)})
    with pytest.raises(ConfigError, match="party 1's"):
        adopt(theirs, Wish(trash=True, above=9))
    (state(folder, 0) / "registry.sqlite").unlink()
    with pytest.raises(ConfigError, match="--register"):
        adopt(settings(folder, 0), Wish(register=folder / "backup1/registry.sqlite"))


def test_gameday_nobody_is_told_to_find_the_keys_of_the_other_partys_folder(folder):
    lost(folder, 1)
    state(folder, 0).rename(state(folder, 1))
    write_keys(folder / "keys", [Key.drawn()])
    ring = KeyRing(folder / "keys")
    write_marker(state(folder, 1), Vault(0, ring), ring)
    with pytest.raises(ConfigError, match="is party 0's"):
        owners(folder, 1)
    with pytest.raises(ConfigError, match="is party 0's"):
        adopt(settings(folder, 1), Wish())
    (line,) = verify(settings(folder, 1))
    assert "is party 0's" in line


def test_w23_another_deployments_registry_is_never_adopted(folder, tmp_path):
    with ExitStack() as stack:
        parties = Parties(folder / "others", stack)
        parties.meet()
        parties.activated(ANA)
    for path in state(folder, 0).glob("registry.sqlite*"):
        path.unlink()
    shutil.copy(folder / "others/party0/registry.sqlite", state(folder, 0))
    with pytest.raises(ConfigError, match="another deployment"):
        adopt(settings(folder, 0), Wish(trash=True))


def test_a_running_party_is_not_adopted(folder):
    with (
        open_models(settings(folder, 1), None),
        pytest.raises(ConfigError, match="in use by another process"),
    ):
        adopt(settings(folder, 1), Wish(above=9))


def test_a_backup_can_be_read_where_nothing_can_be_written(folder):
    """Its registry is one file without a write-ahead log."""
    made = folder / "backup0"
    with closing(sqlite3.connect(made / "registry.sqlite")) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert len(live_models(made / "registry.sqlite")) == 2
    assert sorted(os.listdir(made)) == ["backup.json", "identity.json", "registry.sqlite", "shares"]


# --- The command line -----------------------------------------------------------------------------


def told(folder, party, *words):
    """Exit status of `python -m parties WORDS`, in this process."""
    config = settings(folder, party)
    file = folder / f"party{party}.toml"
    lines = [
        f"index = {party}",
        'listen = "127.0.0.1:0"',
        f'state = "{config.state}"',
        "insecure_loopback = true",
        "[mpc]",
        f'{"listen" if party else "address"} = "127.0.0.1:1"',
        "[dealer]",
        'address = "127.0.0.1:1"',
        *([] if party else ["[peer]", 'address = "127.0.0.1:1"']),
        "[[cohorts]]",
        f'name = "{COHORT}"',
        'preset = "subspace32"',
    ]
    file.write_text("\n".join(lines))
    parser = argparse.ArgumentParser()
    commands.add_to(parser.add_subparsers(dest="server"))
    mask = os.umask(0o077)
    try:
        return commands.run(parser.parse_args([*words, "--config", str(file)]))
    finally:
        os.umask(mask)


def test_the_commands_say_what_they_did_and_end_with_1_if_a_share_is_damaged(folder, capsys):
    assert told(folder, 0, "backup", "--to", str(folder / "new")) == 0
    assert told(folder, 0, "verify", "--backup", str(folder / "new")) == 0
    assert told(folder, 0, "verify") == 0
    assert told(folder, 0, "adopt") == 0
    lost(folder, 0)
    assert (
        told(
            folder,
            0,
            "restore",
            "--from",
            str(folder / "new"),
            "--above",
            "90",
            "--forget-spending",
        )
        == 0
    )
    assert told(folder, 0, "adopt", "--above", "99", "--forget-spending") == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 6 and said[-1].endswith("at epoch 100")
    flipped(one_share(state(folder, 0)))
    assert told(folder, 0, "verify") == 1
    assert told(folder, 0, "backup", "--to", str(folder / "newer")) == 1
    damaged = [line for line in capsys.readouterr().out.splitlines() if "is damaged" in line]
    assert len(damaged) == 2


@pytest.mark.parametrize("epoch", ["9223372036854775806", "1" + "0" * 30, "-1", "many"])
def test_gameday_an_epoch_after_which_none_could_come_is_refused(folder, capsys, epoch):
    # A registry at the highest integer of its database could never change again.
    before = (state(folder, 0) / "identity.json").read_bytes()
    with pytest.raises(SystemExit):
        told(folder, 0, "adopt", "--above", epoch, "--forget-spending")
    assert "not a whole number from 0 to" in capsys.readouterr().err
    assert (state(folder, 0) / "identity.json").read_bytes() == before


def test_gameday_an_identity_with_such_an_epoch_is_damaged(folder):
    file = state(folder, 0) / "identity.json"
    fields = json.loads(file.read_text()) | {"epoch": 1 << 63}
    file.write_text(json.dumps(fields))
    with pytest.raises(ConfigError, match="is damaged"):
        adopt(settings(folder, 0), Wish(above=3, forget_spending=True))
