"""A registry in PostgreSQL: safe addresses, one process at a time, and the server going away."""

import subprocess
import sys
import threading
from contextlib import closing

import pytest
from sqlalchemy.exc import IntegrityError
from test_registry import a_header, added, run, states

from parties.party.models.registry import Epochs, Registry
from parties.party.models.tables import State
from privedge.errors import ConfigError, Unreachable
from tests.postgres_server import PASSWORD, USER

FOLDER = "f" * 32


# --- Addresses and passwords ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "not a database URL"),
        ("sqlite:////nonexistent/folder/x.sqlite", "cannot open"),
        ("postgresql+nonesuch://user:hidden@127.0.0.1/x", "not a database URL"),
        ("mysql://user:hidden@127.0.0.1/x", "not a database URL"),
        ("postgresql://user:hidden@127.0.0.1:port/x", "not a database URL"),
        ("postgresql://user:hidden@db.example/x", "on another machine; add sslmode=verify-full"),
        ("postgresql://user:hidden@db.example/x?sslmode=require", "on another machine"),
        ("postgresql://user@/x?host=db.example", "on another machine"),
        ("postgresql://user@127.0.0.1/x?password=hidden", "'password' cannot be given there"),
        ("postgresql://user@127.0.0.1/x?options=-c+role%3Dhidden", "'options' cannot be given"),
        ("postgresql://user:hidden@127.0.0.1:1/x", "the database cannot be used"),
        ("postgresql://user:hidden@db.invalid/x?sslmode=verify-full", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_without_showing_its_url(url, why):
    with pytest.raises(ConfigError, match=why) as refused:
        Registry(url)
    assert "hidden" not in str(refused.value) and "\n" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda url: url.replace(PASSWORD, "hidden"), "it refuses this user, password"),
        (lambda url: url.replace(f":{PASSWORD}", ""), "it refuses this user, password"),
        (lambda url: f"{url}nowhere", "it has no database of that name"),
    ],
)
def test_a_server_that_refuses_is_named_by_reason_only(postgres, change, why):
    url = change(postgres.new_database())
    with pytest.raises(ConfigError, match=why) as refused:
        Registry(url)
    for secret in (PASSWORD, "hidden", USER):
        assert secret not in str(refused.value).replace("this user", "")


def test_a_password_may_be_in_a_file(postgres, tmp_path, monkeypatch):
    name = postgres.new_database().rpartition("/")[2]
    file = postgres.pass_file(tmp_path)
    url = postgres.url(name, password=None)
    with closing(Registry(f"{url}?passfile={file}")) as registry:
        added(registry)
    monkeypatch.setenv("PGPASSFILE", str(file))
    with closing(Registry(url)) as registry:
        assert len(states(registry)) == 1


def test_no_password_is_shown_whatever_happens(postgres, caplog, capfd):
    url = postgres.new_database()
    caplog.set_level("DEBUG")
    with closing(Registry(url)) as registry:
        added(registry)
        postgres.kill()
        try:
            with pytest.raises(Unreachable) as lost:
                added(registry)
            with pytest.raises(ConfigError) as refused:
                Registry(url)
        finally:
            postgres.start()
        shown = [str(lost.value), str(refused.value), repr(registry._engine), caplog.text]
    shown += capfd.readouterr()
    assert "database is away" in caplog.text
    assert [text for text in shown if PASSWORD in text] == []


# --- One process at a time ------------------------------------------------------------------------

OPENS = """
import sys
from parties.party.models.registry import Registry
from privedge.errors import ConfigError
try:
    Registry(sys.argv[1]).close()
except ConfigError as error:
    print(error)
"""


def opened_elsewhere(url):
    """What another process is told that opens the same registry; empty if it may."""
    done = subprocess.run([sys.executable, "-c", OPENS, url], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_w24_a_second_process_is_refused_until_the_first_one_is_gone(registry_url):
    with closing(Registry(registry_url)):
        line = opened_elsewhere(registry_url)
        assert "another process" in line and "uses this database" in line
        assert "\n" not in line and PASSWORD not in line
    assert opened_elsewhere(registry_url) == ""


def test_databases_of_one_server_have_owners_of_their_own(postgres):
    with closing(Registry(postgres.new_database())), closing(Registry(postgres.new_database())):
        pass


def ended_sessions(postgres, url, which="true"):
    """End sessions of a database, as its operator may."""
    name = url.rpartition("/")[2]
    return postgres.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
        f"WHERE datname = '{name}' AND usename = '{USER}' AND {which}",
    )


def back(registry):
    """A lock that is taken when the registry's database is back."""
    regained = threading.Event()
    registry.watch(regained.set)
    return regained


def test_w24_who_loses_the_lock_cannot_write_in_the_middle_of_a_change_either(postgres):
    """Two writers at a time is what must never be."""
    url = postgres.new_database()
    with closing(Registry(url)) as first:
        model_id = added(first)

        def overtaken(session):
            """The session ends while its transaction is open, and another process begins."""
            session.get_one(type(first.get(model_id)), model_id).state = State.RETIRED
            session.flush()
            ended_sessions(postgres, url)
            with closing(Registry(url)) as second:
                assert second.get(model_id).state == State.UPLOADED
                second.prepare(model_id)

        regained = back(first)
        with pytest.raises(Unreachable):
            first._write(overtaken)
        assert regained.wait(30)
        assert first.get(model_id).state == State.PREPARED


def test_w24_a_party_whose_database_another_one_has_taken_changes_nothing(postgres, caplog):
    url = postgres.new_database()
    with closing(Registry(url)) as first:
        regained = back(first)
        postgres.sql("postgres", f"ALTER ROLE {USER} NOLOGIN")
        ended_sessions(postgres, url)
        with pytest.raises(Unreachable):
            added(first)
        postgres.sql("postgres", f"ALTER ROLE {USER} LOGIN")
        try:
            second = Registry(url)
        except ConfigError:  # the first one was faster
            assert regained.wait(30)
            return
        with closing(second):
            with pytest.raises(Unreachable):
                added(first)
            added(second)
        assert regained.wait(30)
        assert len(states(first)) == 1


def test_w18_another_or_older_database_is_not_taken_for_the_one_that_went_away(postgres):
    """As after a failover to a standby that is behind."""
    url = postgres.new_database()
    with closing(Registry(url)) as registry:
        registry.belong(FOLDER, 0, Epochs("d" * 32, 7))
        added(registry)
        for change, undo, why in (
            ("SET epoch = epoch - 1", "SET epoch = epoch + 1", "it is older"),
            (f"SET folder = '{'0' * 32}'", f"SET folder = '{FOLDER}'", "another state folder"),
            ("SET party = 1", "SET party = 0", "party 1's"),
        ):
            regained = back(registry)
            run(url, f"UPDATE state_folder {change}")
            ended_sessions(postgres, url)
            until(lambda why=why: why in registry.fault())
            with pytest.raises(Unreachable, match=why):
                added(registry)
            run(url, f"UPDATE state_folder {undo}")
            assert regained.wait(30)
        added(registry)
        assert registry.epochs.own == 9


@pytest.mark.parametrize("changes", [1, 2, 3])
def test_w24_a_party_whose_database_another_one_has_changed_waits_for_a_restart(postgres, changes):
    """The other one has a copy of the folder, and is gone when the first one comes back."""
    url = postgres.new_database()
    with closing(Registry(url)) as first:
        first.belong(FOLDER, 0, Epochs("d" * 32, 7))
        regained = back(first)
        postgres.sql("postgres", f"ALTER ROLE {USER} NOLOGIN")
        ended_sessions(postgres, url)
        until(first.fault)
        changed = f"UPDATE state_folder SET epoch = epoch + {changes}"
        postgres.sql(url.rpartition("/")[2], changed)
        postgres.sql("postgres", f"ALTER ROLE {USER} LOGIN")
        if changes == 1:  # as its own may have been whose answer got lost
            assert regained.wait(30)
            added(first)
            return
        until(lambda: "another process has changed it" in first.fault())
        with pytest.raises(Unreachable, match="start this party again"):
            added(first)
        assert not regained.is_set() and "\n" not in first.fault()
    with closing(Registry(url)) as again:
        added(again)
        assert again.epochs.own == 7 + changes + 1


def test_w64_answers_that_got_lost_one_after_the_other_are_no_other_process(postgres):
    """The database was gone again each time, before anything could be read."""
    url = postgres.new_database()

    def committed_unheard(_):
        run(url, "UPDATE state_folder SET epoch = epoch + 1")
        ended_sessions(postgres, url)
        registry._owner._session.exec_driver_sql("SELECT 1")

    def gone_again():
        raise Unreachable("planted")

    with closing(Registry(url)) as registry:
        registry.belong(FOLDER, 0, Epochs("d" * 32, 7))
        registry._owner._regained = gone_again
        for _ in range(3):
            with pytest.raises(Unreachable):
                registry._write(committed_unheard)
            until(lambda: not registry.fault())
        added(registry)
        assert registry.epochs.own == 7 + 3 + 1


def until(condition):
    """Ask again and again; the waiting is for a thread that looks at the database every second."""
    pause = threading.Event()
    for _ in range(600):
        if condition():
            return
        pause.wait(0.05)
    pytest.fail("it did not come to be")


# --- The server goes away -------------------------------------------------------------------------


def test_w64_a_registry_goes_on_after_its_server_was_killed(postgres, caplog):
    url = postgres.new_database()
    caplog.set_level("INFO")
    with closing(Registry(url)) as registry:
        kept = added(registry)
        regained = back(registry)
        postgres.kill()
        try:
            for call in (lambda: added(registry), lambda: registry.get(kept)):
                with pytest.raises(Unreachable):
                    call()
            until(registry.fault)
        finally:
            postgres.start()
        assert regained.wait(30) and registry.fault() == ""
        assert set(states(registry)) == {kept}
        assert registry.activate(kept) == []
    assert [each for each in caplog.messages if "database is away" in each]
    assert [each for each in caplog.messages if "database is back" in each]


def test_w64_a_server_that_says_nothing_holds_nobody_up(postgres, monkeypatch):
    monkeypatch.setattr("parties.party.models.postgresql._SILENT_S", 1)
    url = postgres.new_database()
    with closing(Registry(url)) as registry:
        kept = added(registry)
        regained = back(registry)
        postgres.stop_in_its_tracks()
        try:
            for call in (lambda: added(registry), lambda: registry.get(kept)):
                with pytest.raises(Unreachable):
                    call()
        finally:
            postgres.go_on()
        assert regained.wait(60) and registry.fault() == ""
        assert set(states(registry)) == {kept}


def test_w64_a_silent_server_is_known_of_before_its_time_is_up(postgres):
    with closing(Registry(postgres.new_database())) as registry:
        postgres.stop_in_its_tracks()
        try:
            until(registry.fault)
            assert registry.fault() == "it does not answer"
        finally:
            postgres.go_on()
        until(lambda: not registry.fault())
        added(registry)


# --- Many at once ---------------------------------------------------------------------------------


def all_at_once(*calls):
    """What became of calls that begin together: a result or an exception for each."""
    ready, ended = threading.Barrier(len(calls)), [None] * len(calls)

    def make(at, call):
        ready.wait()
        try:
            ended[at] = call()
        except Exception as error:
            ended[at] = error

    threads = [threading.Thread(target=make, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def test_c22_of_uploads_with_one_id_exactly_one_is_registered(registry_url):
    with closing(Registry(registry_url)) as registry:
        for _ in range(5):
            header = a_header()
            ended = all_at_once(*[lambda header=header: registry.add(header)] * 8)
            assert len([each for each in ended if each is None]) == 1
            assert {type(each).__name__ for each in ended} == {"NoneType", "AlreadyExists"}
        assert len(states(registry)) == 5


def test_activations_at_once_leave_one_active_model_of_an_owner(registry_url):
    with closing(Registry(registry_url)) as registry:
        models = [added(registry) for _ in range(8)]
        before = registry.epochs.own
        ended = all_at_once(*[lambda each=each: registry.activate(each) for each in models])
        assert all(isinstance(each, list) for each in ended)
        kept = [each for each, state in states(registry).items() if state == State.ACTIVE]
        assert len(kept) == 1
        assert sum(len(each) for each in ended) == len(models) - 1
        assert before == registry.epochs.own == 0  # it belongs to no folder


def test_the_database_itself_refuses_a_second_active_model(registry_url):
    with closing(Registry(registry_url)) as registry:
        first, second = added(registry), added(registry)
        registry.activate(first)
        with pytest.raises(IntegrityError):
            run(registry_url, f"UPDATE models SET state = 'active' WHERE model_id = '{second}'")


def test_every_change_at_once_raises_the_epoch_by_one(registry_url):
    with closing(Registry(registry_url)) as registry:
        registry.belong(FOLDER, 0, Epochs(own=1))
        all_at_once(*[lambda owner=owner: added(registry, owner) for owner in "abcdefghij"])
        assert registry.epochs.own == 11
        assert run(registry_url, "SELECT epoch FROM state_folder") == [(11,)]
