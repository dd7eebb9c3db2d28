"""Parties whose registries are in PostgreSQL: what does not fit, backups, and a lost server."""

import shutil
import threading
from contextlib import ExitStack

import pytest
from test_model_service import ANA, BEN, COHORT, Parties, settings, shares_of
from test_postgresql import all_at_once, run, until
from test_registry import tables

from parties.at_rest.vault import Vault
from parties.party.models.state_folder import open_models
from parties.party.models.tables import State
from parties.party.upkeep.adopt import Wish, adopt
from parties.party.upkeep.backup import backup, restore
from parties.party.upkeep.verify import verify, verify_backup
from privedge.errors import AlreadyExists, ConfigError, Unreachable
from privedge.identity.roles import Identity, Role
from tests.postgres_server import PASSWORD


class Deployed:
    """Two stopped parties with two active models, and a backup of each from before the second."""

    def __init__(self, folder, server, urls):
        self.folder, self.server, self.urls = folder, server, urls
        with ExitStack() as stack:
            parties = Parties(folder, stack, urls=urls)
            parties.meet()
            parties.activated(ANA)
            for party in (0, 1):
                backup(self.config(party), folder / f"before{party}")
            parties.activated(BEN)

    def config(self, party, url=None, folder=None):
        return settings(folder or self.folder, party, registry_url=url or self.urls[party])

    def state(self, party):
        return self.folder / f"party{party}"

    def shares(self, party):
        return {path.read_bytes() for path in self.state(party).glob("*/*.words")}

    def owners(self, party, url=None, folder=None):
        with open_models(self.config(party, url, folder), None) as models:
            return models.snapshot(COHORT).owners


@pytest.fixture
def deployed(tmp_path, postgres):
    urls = (postgres.new_database(), postgres.new_database())
    return Deployed(tmp_path, postgres, urls)


# --- W-18: empty, other, older --------------------------------------------------------------------


def an_empty_one(deployed, party):
    return deployed.server.new_database()


def somebody_elses(deployed, party):
    url = deployed.server.new_database()
    run(url, "CREATE TABLE meta (x INTEGER)" if party else "CREATE TABLE other (x INTEGER)")
    return url


def another_partys(deployed, party):
    other = Deployed(deployed.folder / "others", deployed.server,
                     (deployed.server.new_database(), deployed.server.new_database()))  # fmt: skip
    return other.urls[party]


def the_other_partys(deployed, party):
    return deployed.urls[1 - party]


def an_older_one(deployed, party):
    url = deployed.server.new_database()
    restore(deployed.config(party, url, deployed.folder / "aside"),
            deployed.folder / f"before{party}")  # fmt: skip
    return url


@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (an_empty_one, "it is empty"),
        (somebody_elses, "it is empty|cannot open it"),
        (another_partys, "another state folder"),
        (the_other_partys, "is party [01]'s"),
        (an_older_one, "it is older"),
    ],
)
def test_w18_no_share_is_lost_to_a_database_that_does_not_fit(deployed, party, make, says):
    kept, url = deployed.shares(party), make(deployed, party)
    before = tables(url)
    with pytest.raises(ConfigError, match=says) as refused:
        deployed.owners(party, url)
    assert "\n" not in str(refused.value) and PASSWORD not in str(refused.value)
    assert tables(url) == before
    assert deployed.shares(party) == kept and len(kept) == 2
    assert deployed.owners(party) == ("ana", "ben")


@pytest.mark.parametrize("party", [0, 1])
def test_w24_a_copy_of_the_folder_with_the_same_database_is_refused(deployed, party):
    copy = deployed.folder / "copy"
    shutil.copytree(deployed.state(party), copy / f"party{party}")
    with (
        open_models(deployed.config(party), None),
        pytest.raises(ConfigError, match="has not ended yet"),  # both are this process
    ):
        deployed.owners(party, folder=copy)
    assert deployed.owners(party, folder=copy) == ("ana", "ben")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE models SET owner = 'eve' WHERE owner = 'ana'",
        "UPDATE models SET salt = ''",
        "UPDATE models SET state = 'activ'",
    ],
)
def test_w25_an_entry_that_contradicts_its_manifest_is_refused(deployed, change):
    run(deployed.urls[1], change)
    with pytest.raises(ConfigError, match="is damaged; put the newest backup"):
        deployed.owners(1)


# --- Backup, restore, verify, adopt ---------------------------------------------------------------


@pytest.mark.parametrize("party", [0, 1])
@pytest.mark.parametrize("kinds", ["postgresql to postgresql", "postgresql to sqlite",
                                   "sqlite to postgresql"])  # fmt: skip
def test_a_backup_of_either_database_restores_into_either(tmp_path, postgres, party, kinds):
    def url(kind):
        return postgres.new_database() if kind == "postgresql" else None

    source, target = kinds.split(" to ")
    deployed = Deployed(tmp_path, postgres, (url(source), url(source)))
    made, elsewhere = tmp_path / "made", tmp_path / "elsewhere"
    with open_models(deployed.config(party), None):  # beside the running party
        assert backup(deployed.config(party), made) == []
    assert list(verify_backup(made, Vault(party))) == []
    assert sorted(path.name for path in made.iterdir()) == [
        "backup.json", "identity.json", "registry.sqlite", "shares"
    ]  # fmt: skip
    config = settings(elsewhere, party, registry_url=url(target))
    assert restore(config, made) == []
    assert list(verify(config)) == []
    with open_models(config, None) as models:
        assert models.snapshot(COHORT).owners == ("ana", "ben")
    for path in made.iterdir():
        assert path.stat().st_mode & 0o077 == 0


def test_a_backup_while_models_come_and_go_fits_together(deployed, tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, urls=deployed.urls)
        done = threading.Event()

        def replacing():
            for _ in range(10):
                parties.activated(ANA)
            done.set()

        thread = threading.Thread(target=replacing)
        thread.start()
        made = []
        while not done.is_set() or not made:
            made.append(tmp_path / f"backup-{len(made)}")
            assert backup(deployed.config(1), made[-1]) == []
        thread.join()
    assert [line for each in made for line in verify_backup(each, Vault(1))] == []


def test_a_database_that_is_in_use_is_never_restored_over(deployed):
    empty = deployed.folder / "empty"
    with pytest.raises(ConfigError, match="is there already"):
        restore(deployed.config(0, deployed.urls[1], empty), deployed.folder / "before0")
    assert not (empty / "party0" / "identity.json").exists()
    assert deployed.owners(1) == ("ana", "ben")


def test_w18_a_lost_database_is_replaced_by_a_backups_rows_and_all_shares_stay(deployed):
    made, kept = deployed.folder / "made", deployed.shares(1)
    backup(deployed.config(1), made)
    new = deployed.config(1, deployed.server.new_database())
    (line,) = verify(new)
    assert line.startswith("registry: it is empty")
    lines = adopt(new, Wish(register=made / "registry.sqlite", forget_spending=True))
    assert "belong together" in lines[-1]
    assert list(verify(new)) == [] and deployed.shares(1) == kept
    assert deployed.owners(1, new.registry_url) == ("ana", "ben")


def test_commands_say_in_a_line_that_the_database_is_away(deployed):
    deployed.server.kill()
    try:
        for call in (
            lambda: backup(deployed.config(0), deployed.folder / "new"),
            lambda: adopt(deployed.config(0), Wish(trash=True)),
            lambda: deployed.owners(0),
        ):
            with pytest.raises(ConfigError, match="the database cannot be used") as refused:
                call()
            assert "\n" not in str(refused.value) and PASSWORD not in str(refused.value)
        (line,) = verify(deployed.config(0))
        assert "the database cannot be used" in line
    finally:
        deployed.server.start()
    assert not (deployed.folder / "new").exists()


# --- A server that is killed ----------------------------------------------------------------------


def in_registry(url):
    return {model_id for (model_id,) in run(url, "SELECT model_id FROM models")}


def test_w64_no_upload_is_lost_or_doubled_when_the_database_is_killed_and_started(
    deployed, tmp_path
):
    """Owners upload one after the other, and again what was refused, while the server dies."""
    with ExitStack() as stack:
        party = stack.enter_context(open_models(deployed.config(1), None))
        before = in_registry(deployed.urls[1])
        refused, stored, ended = [], [], threading.Event()

        def uploading():
            while not ended.is_set() or len(stored) < 12:
                owner = Identity(Role.OWNER, f"owner-{len(stored)}")
                (_, header), (_, raw) = shares_of(owner)
                while True:  # one id until it is accepted
                    try:
                        party.upload(header, owner, [raw])
                        break
                    except Unreachable as error:
                        refused.append(error)
                        ended.wait(0.01)
                stored.append(header.manifest.model_id)

        thread = threading.Thread(target=uploading)
        thread.start()
        for count in (3, 6, 9):
            until(lambda count=count: len(stored) >= count)
            deployed.server.kill()
            seen = len(refused)
            until(lambda seen=seen: len(refused) > seen)
            deployed.server.start()
        ended.set()
        thread.join()
        assert len(set(stored)) == len(stored) >= 12 and refused
        assert in_registry(deployed.urls[1]) - before == set(stored)
    assert list(verify(deployed.config(1))) == []


def test_w64_models_are_asked_while_the_database_is_away_and_nothing_changes(deployed, tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, urls=deployed.urls)
        parties.leader.synchronise()
        waiting = parties.uploaded(ANA)
        snapshot = parties.leader.snapshot(COHORT)
        followed = threading.Event()
        parties.leader.watch(followed.set)
        deployed.server.kill()
        try:
            headers, raw = shares_of(BEN)
            for call in (
                lambda: parties.leader.activate(waiting, ANA),
                lambda: parties.leader.upload(headers[0], BEN, [raw[0]]),
                lambda: parties.leader.delete(waiting, ANA),
                lambda: parties.follower.delete(waiting, ANA),
                lambda: parties.leader.listed(ANA, None),
            ):
                with pytest.raises(Unreachable):
                    call()
            for models in (parties.leader, parties.follower):
                with models.pin(COHORT, snapshot.id) as pinned:
                    assert pinned.owners == ("ana", "ben")
                    assert all(model.path.exists() for model in pinned.models)
                until(models.registry_fault)
                assert models.models_active == 2 and models.quarantine.lines == ()
            assert parties.meet() == ((), ())
        finally:
            deployed.server.start()
        assert followed.wait(30)
        until(lambda: not parties.follower.registry_fault())
        parties.leader.activate(waiting, ANA)
        assert parties.agree and parties.leader.snapshot(COHORT).owners == ("ana", "ben")
        assert parties.leader.snapshot(COHORT).id != snapshot.id


def test_w64_an_activation_whose_answer_got_lost_is_found_when_the_database_is_back(
    deployed, tmp_path
):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, urls=deployed.urls)
        parties.leader.synchronise()
        old, new = parties.leader.snapshot(COHORT), parties.uploaded(ANA)
        registry, followed = parties.leader._registry, threading.Event()
        parties.leader.watch(followed.set)
        registry.prepare(new)

        def committed_unheard(_):
            """As if the connection had broken after the commit and before its answer."""
            run(
                deployed.urls[0],
                "UPDATE models SET state = 'retired' WHERE owner = 'ana' AND state = 'active'",
                f"UPDATE models SET state = 'active' WHERE model_id = '{new}'",
                "UPDATE state_folder SET epoch = epoch + 1",
            )
            deployed.server.kill()
            registry._owner._session.exec_driver_sql("SELECT 1")

        with pytest.raises(Unreachable), parties.leader._changing():
            registry._write(committed_unheard)
        with parties.leader.pin(COHORT, old.id):
            pass
        deployed.server.start()
        assert followed.wait(30)
        now = parties.leader.snapshot(COHORT)
        assert new in now.model_ids and now.owners == ("ana", "ben")
        assert all(model.path.exists() for model in now.models)
        (retired,) = set(old.model_ids) - set(now.model_ids)
        assert not parties.leader._files.path(retired).exists()
        until(lambda: not parties.follower.registry_fault())
        parties.leader.synchronise()
        assert parties.agree


def test_c22_of_uploads_with_one_id_exactly_one_is_stored(deployed):
    with open_models(deployed.config(0), None) as party:
        for _ in range(3):
            (header, _), (raw, _) = shares_of(BEN)
            call = lambda header=header, raw=raw: party.upload(header, BEN, [raw])  # noqa: E731
            ended = all_at_once(*[call] * 6)
            # Who comes after the winner repeats an upload that is done.
            assert header.manifest.share_bytes in ended
            errors = [each for each in ended if isinstance(each, Exception)]
            assert {type(each) for each in errors} <= {AlreadyExists}
            row = party._registry.get(header.manifest.model_id)
            assert row.state == State.UPLOADED and party._files.fault(row) is None
