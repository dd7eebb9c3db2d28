"""`python -m parties check`: each planted mistake gives one fault line, and a good file none.

W-61. The check runs beside a live deployment, whose files are copied with one thing changed.
"""

import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parties.at_rest.key_ring import Key, KeyRing, write_keys
from parties.at_rest.vault import Vault
from parties.check.file import read
from parties.check.server import check_server
from parties.party.models.encryption import write_marker
from privedge.errors import ConfigError
from privedge.findings import Finding
from privedge.identity.certificates import create_authority, issue
from privedge.identity.pem_files import read_chain
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import SERVERS, CohortSetting, Deployment
from privedge.rpc.about import AboutServicer
from privedge.rpc.access import ACCESS
from privedge.rpc.server import build_server
from privedge.wire import about_pb2_grpc
from tests import made_certificates as made
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

PARTY0, PARTY1, DEALER = Role.PARTY0, Role.PARTY1, Role.DEALER
Fields = dict[str, Any]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory) -> Iterator[Deployment]:
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    with Deployment(tmp_path_factory.mktemp("checked"), cohorts) as running:
        yield running


def fields_of(deployment: Deployment, server: Role) -> Fields:
    fields = tomllib.loads(deployment.config_file(server).read_text())
    if "state" in fields:
        fields["state"] = str(deployment.folder / fields["state"])
    return fields


def toml(fields: Fields, name: str = "") -> str:
    """Tables last, as TOML wants it."""
    plain = {key: value for key, value in fields.items() if not _holds_tables(value)}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in plain.items()]
    for key, value in fields.items():
        if isinstance(value, dict):
            lines.append(f"[{name}{key}]\n{toml(value, f'{name}{key}.')}")
        elif _holds_tables(value):
            lines += [f"[[{name}{key}]]\n{toml(each)}" for each in value]
    return "".join(lines)


def _holds_tables(value: object) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(each, dict) for each in value)
    )


def faults_of(path: Path) -> list[Finding]:
    try:
        config = read(path)
    except ConfigError as error:
        return [Finding("file", line) for line in (str(error), *error.more)]
    return [each for each in check_server(config) if each.is_fault]


@dataclass
class Place:
    """Where one mistake is planted."""

    deployment: Deployment
    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def faults(self, fields: Fields) -> list[Finding]:
        path = self.folder / "server.toml"
        path.write_text(toml(fields))
        return faults_of(path)

    def shows(self, fields: Fields, own, *, sent=(), trusted=(), **tls: Any) -> None:
        """The server has this certificate."""
        fields["tls"] = (
            made.write(self.folder, "own", own, sent, trusted).model_dump(
                mode="json", exclude={"pins"}
            )
            | tls
        )

    def other_authority(self) -> Path:
        create_authority(self.folder / "other")
        return self.folder / "other"

    def kept_state(self, fields: Fields) -> Path:
        """A copy of the party's state."""
        copy = self.folder / "state"
        shutil.copytree(fields["state"], copy)
        fields["state"] = str(copy)
        return copy

    def free_address(self) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def place(deployment, tmp_path, monkeypatch) -> Place:
    return Place(deployment, tmp_path, monkeypatch)


ROOT = made.make("root", made.authority(days=(-2, 900)))


def own(**changes):
    how = {"uris": ("spiffe://privedge/party0/party0",), "hosts": ("party0.privedge",)}
    return made.make("party0", made.server(**{**how, "days": (-2, 90), **changes}), ROOT)


@contextmanager
def impostor(deployment: Deployment, role: Role, servicer: AboutServicer) -> Iterator[str]:
    tls = deployment.tls(Identity(role, role.value))
    server, port = build_server("127.0.0.1:0", tls=tls, access=ACCESS)
    about_pb2_grpc.add_AboutServicer_to_server(servicer, server)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class LaterVersion(AboutServicer):
    def Read(self, request, context):
        said = super().Read(request, context)
        said.mpc = 99
        return said


class OtherClock(AboutServicer):
    def Read(self, request, context):
        said = super().Read(request, context)
        said.clock_ms += 3_600_000
        return said


# --- Nothing is wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_w61_a_running_server_with_a_good_file_has_no_fault(place, server):
    assert place.faults(fields_of(place.deployment, server)) == []


def test_w61_a_check_changes_nothing(place):
    """Neither in the state folder nor in what party 1 thinks of party 0."""
    fields = fields_of(place.deployment, PARTY0)
    state = place.kept_state(fields)
    before = {path: path.stat().st_mtime_ns for path in state.rglob("*") if path.is_file()}
    fields["rounding"] = "exact"
    assert [each.about for each in place.faults(fields)] == ["peer"]
    databases = {path for path in before if "registry.sqlite" in path.name}  # SQLite tidies up
    after = {path: path.stat().st_mtime_ns for path in before.keys() - databases}
    assert after == {path: before[path] for path in before.keys() - databases}
    assert "disagrees" not in place.deployment.log_file(PARTY1).read_text()


def command(*arguments: str | Path, before: str = "") -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "parties", "check", *map(str, arguments)]
    if before:
        line = ["bash", "-c", f'{before}; exec "$@"', "bash", *line]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_w61_the_command_says_that_nothing_is_wrong(deployment):
    file = deployment.config_file(PARTY0)
    done = command("--config", file)
    assert (done.returncode, done.stdout) == (0, f"{file} party0: no fault found\n")
    assert all(line.startswith("hint: ") for line in done.stderr.splitlines())


def test_w61_the_command_says_in_lines_and_as_json_what_is_wrong(place):
    fields = fields_of(place.deployment, PARTY0)
    fields["peer"]["address"] = place.free_address()
    file = place.folder / "party0.toml"
    file.write_text(toml(fields))
    limited = "ulimit -Sn 300; ulimit -Hn 300"
    done = command("--config", file, before=limited)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == ["descriptors", "peer"]
    done = command("--config", file, "--json", before=limited)
    said = json.loads(done.stdout)
    assert (done.returncode, done.stderr, said["server"]) == (1, "", "party0")
    assert [each["about"] for each in said["faults"]] == ["descriptors", "peer"]
    assert {each["about"] for each in said["hints"]} == {
        "listen", "dealer.address", "peer.address", "cohorts", "tls", "at_rest"
    }  # fmt: skip


# --- Planted mistakes -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """`plant` changes the fields of the file of `server`; the one fault is `about`, with `text`."""

    name: str
    about: str
    text: str
    plant: Callable[[Place, Fields], object]
    server: Role = PARTY0


def put(table: str, key: str, value: Any) -> Callable[[Place, Fields], object]:
    """Set one key; `table` is empty for the top level."""

    def plant(_: Place, fields: Fields) -> None:
        (fields.setdefault(table, {}) if table else fields)[key] = value

    return plant


def cohort(**changes: Any) -> Callable[[Place, Fields], object]:
    def plant(_: Place, fields: Fields) -> None:
        fields["cohorts"][0].update(changes)
        fields["cohorts"][0] = {k: v for k, v in fields["cohorts"][0].items() if v is not None}

    return plant


def ends_soon(place: Place, fields: Fields) -> None:
    """It is of the deployment's own authority, so the other servers accept it."""
    authority = place.folder / "authority"
    shutil.copytree(place.deployment.folder / "certs", authority)
    for name in ("party0.crt", "party0.key"):
        (authority / name).unlink()
    made_now = issue(authority, Identity(PARTY0, "party0"), days=13)
    fields["tls"] |= {"certificate": str(made_now.certificate), "key": str(made_now.key)}


def second_cohort(_: Place, fields: Fields) -> None:
    fields["cohorts"].append(dict(fields["cohorts"][0], name="faces"))


def shown(**changes: Any) -> Callable[[Place, Fields], object]:
    return lambda place, fields: place.shows(fields, own(**changes), trusted=[ROOT])


def wrong_key(place: Place, fields: Fields) -> None:
    place.shows(fields, own(), trusted=[ROOT])
    Path(fields["tls"]["key"]).write_bytes(own().key_pem)


def open_key(place: Place, fields: Fields) -> None:
    place.shows(fields, own(), trusted=[ROOT])
    Path(fields["tls"]["key"]).chmod(0o644)


def pinned(role: str) -> Callable[[Place, Fields], object]:
    def plant(place: Place, fields: Fields) -> None:
        fields["tls"]["pins"] = {role: str(place.other_authority() / "ca.crt")}

    return plant


def expired_pin(place: Place, fields: Fields) -> None:
    pin = place.folder / "pin.crt"
    pin.write_bytes(made.make("old", made.authority(days=(-2, -1))).pem)
    fields["tls"]["pins"] = {"split": str(pin)}


def denied(*lines: str) -> Callable[[Place, Fields], object]:
    def plant(place: Place, fields: Fields) -> None:
        file = place.folder / "denied"
        file.write_text("\n".join(lines))
        fields["denied"] = str(file)

    return plant


def denied_itself(place: Place, fields: Fields) -> None:
    serial = read_chain(Path(fields["tls"]["certificate"]))[0].serial_number
    denied(f"{serial:x}")(place, fields)


def same(table: str, key: str, *source: str) -> Callable[[Place, Fields], object]:
    """Take another address of the same file."""

    def plant(_: Place, fields: Fields) -> None:
        value: Any = fields
        for step in source:
            value = value[step]
        fields[table][key] = value

    return plant


def nowhere(table: str) -> Callable[[Place, Fields], object]:
    return lambda place, fields: fields[table].update(address=place.free_address())


def state_of_party_1(place: Place, fields: Fields) -> None:
    fields["state"] = fields["state"].replace("party0", "party1")


def open_state(place: Place, fields: Fields) -> None:
    place.kept_state(fields).chmod(0o755)


def state_is_a_file(place: Place, fields: Fields) -> None:
    (place.folder / "state").write_text("")
    fields["state"] = str(place.folder / "state")


def system_folder(place: Place, fields: Fields) -> None:
    (place.folder / "system/etc").mkdir(parents=True)
    fields["state"] = str(place.folder / "system")


def wiped_state(place: Place, fields: Fields) -> None:
    (place.folder / "state").mkdir(mode=0o700)
    fields["state"] = str(place.folder / "state")


def changed_registry(statement: str) -> Callable[[Place, Fields], object]:
    def plant(place: Place, fields: Fields) -> None:
        file = place.kept_state(fields) / "registry.sqlite"
        with closing(sqlite3.connect(file)) as registry:
            registry.execute(statement)
            registry.commit()

    return plant


def no_reserve(place: Place, fields: Fields) -> None:
    (place.kept_state(fields) / "reserve").unlink()


def damaged_identity(place: Place, fields: Fields) -> None:
    (place.kept_state(fields) / "identity.json").write_text("{")


def encrypted_state(*rings: str) -> Callable[[Place, Fields], object]:
    """The folder is encrypted with the first of the key rings, and the file names the last one."""

    def plant(place: Place, fields: Fields) -> None:
        files = [place.folder / name for name in ("written", *rings)]
        for file in files:
            write_keys(file, [Key.drawn()])
        ring = KeyRing(files[0])
        write_marker(place.kept_state(fields), Vault(fields["index"], ring), ring)
        if rings:
            fields["at_rest"] = {"key_file": str(files[-1])}

    return plant


def no_key_ring_yet(place: Place, fields: Fields) -> None:
    wiped_state(place, fields)
    fields["at_rest"] = {"key_file": str(place.folder / "none")}


def a_file_for(name: str, text: str = "") -> Callable[[Place, Fields], object]:
    """A file where a start wants the folder `name` of the state, or one that it wrote itself."""

    def plant(place: Place, fields: Fields) -> None:
        path = place.kept_state(fields) / name
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return plant


def lock_is_a_folder(place: Place, fields: Fields) -> None:
    lock = place.kept_state(fields) / "lock"
    lock.unlink()
    lock.mkdir()


def metrics_on(address: Callable[[Fields], str]) -> Callable[[Place, Fields], object]:
    def plant(_: Place, fields: Fields) -> None:
        fields["metrics"] = {"listen": address(fields)}

    return plant


def metrics_of_another(place: Place, fields: Fields) -> None:
    """This server does not run, and party 1 has the port."""
    fields |= {"listen": place.free_address(), "metrics": {"listen": fields["peer"]["address"]}}


def traces_without_package(place: Place, fields: Fields) -> None:
    fields["traces"] = {"endpoint": "http://127.0.0.1:4318/v1/traces"}
    place.monkeypatch.setitem(sys.modules, "opentelemetry", None)


def registry_without_driver(place: Place, fields: Fields) -> None:
    fields["registry_url"] = "postgresql://party0@127.0.0.1:1/party0"
    # Whoever imported it before left it in two places.
    place.monkeypatch.delitem(sys.modules, "parties.party.models.postgresql", raising=False)
    place.monkeypatch.delattr("parties.party.models.postgresql", raising=False)
    place.monkeypatch.setitem(sys.modules, "psycopg", None)


def no_registry(place: Place, fields: Fields) -> None:
    for file in place.kept_state(fields).glob("registry.sqlite*"):
        file.unlink()


def wrong_spec(place: Place, fields: Fields) -> None:
    file = place.folder / "spec.json"
    file.write_text("{}")
    cohort(preset=None, components=None, channels=1, spec_file=str(file))(place, fields)


def cache_is_a_file(place: Place, fields: Fields) -> None:
    (place.folder / "cache").write_text("")
    place.monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    place.monkeypatch.setenv("XDG_CACHE_HOME", str(place.folder / "cache"))


def other_crypten(place: Place, fields: Fields) -> None:
    metadata = place.folder / "packages" / "crypten-0.3.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: crypten\nVersion: 0.3.0\n")
    place.monkeypatch.syspath_prepend(str(metadata.parents[1]))


MISTAKES = [
    Mistake("an unknown key", "file", "enigne: unknown key", put("", "enigne", 2)),
    Mistake("a key of a wrong kind", "file", "workers:", put("", "workers", "two")),
    Mistake("a client's file", "file", "privedge doctor", put("", "party0", "a:1")),
    Mistake("keys of party and dealer", "file", "(limits.max_sessions)",
            put("limits", "max_sessions", 3)),
    Mistake("no server's file", "file", "neither a party's file (`index`) nor",
            lambda _, fields: fields.clear()),
    Mistake("certificate missing", "tls", "no such file", put("tls", "certificate", "none.crt")),
    Mistake("key of another certificate", "tls", "is not the key of", wrong_key),
    Mistake("key that others can read", "tls", "chmod 600", open_key),
    Mistake("expired", "tls", "certificate expired on", shown(days=(-2, -1))),
    Mistake("not yet valid", "tls", "is not valid before", shown(days=(1, 9))),
    Mistake("ends in 13 days", "tls", "; renew it", ends_soon),
    Mistake("wrong role", "tls", "has the name party0.privedge, another server's",
            shown(uris=(made.CLIENT.uri,))),
    Mistake("without its server's name", "tls", "lacks the DNS name party0.privedge",
            shown(hosts=())),
    Mistake("of another authority", "tls", "was not issued by",
            lambda place, fields: place.shows(
                fields, own(), trusted=[made.make("strange", made.authority())])),
    Mistake("own pin of another authority", "tls", "was not issued by", pinned("party0")),
    Mistake("a pin that has expired", "tls", "pins.split: all of", expired_pin),
    Mistake("the peer's pin of another authority", "peer", "compare `ca`, or the pin",
            pinned("party1")),
    Mistake("the dealer's pin of another authority", "dealer", "compare `ca`, or the pin",
            pinned("dealer")),
    Mistake("deny list without sense", "denied", "line 1 is neither", denied("party 1")),
    Mistake("deny list missing", "denied", "cannot be read", put("", "denied", "none")),
    Mistake("peer denied", "denied", "denies party 1", denied("spiffe://privedge/party1/party1")),
    Mistake("itself denied", "denied", "denies party 0", denied_itself),
    Mistake("an admin denied", "denied", "denies the admin operator",
            denied("spiffe://privedge/admin/operator")),
    Mistake("listens elsewhere", "listen", "is no address of this machine",
            put("", "listen", "198.51.100.7:7000")),
    Mistake("listens at an unknown name", "listen", "host name is unknown",
            put("", "listen", "no-such-host.invalid:7000")),
    Mistake("metrics elsewhere", "metrics.listen", "is no address of this machine",
            put("metrics", "listen", "198.51.100.7:9464")),
    Mistake("metrics on the port of the front end", "metrics.listen", "is the port of `listen`",
            metrics_on(lambda fields: fields["listen"])),
    Mistake("metrics of the dealer on its own port", "metrics.listen", "is the port of `listen`",
            metrics_on(lambda fields: fields["listen"]), server=DEALER),
    Mistake("metrics everywhere on the port of a worker", "metrics.listen", "worker 0",
            metrics_on(lambda fields: fields["mpc"]["listen"].replace("127.0.0.1", "0.0.0.0")),
            server=PARTY1),
    Mistake("metrics on the port of another process", "metrics.listen", "another process listens",
            metrics_of_another),
    Mistake("its own peer", "peer.address", "own `listen`", same("peer", "address", "listen")),
    Mistake("its own dealer", "dealer.address", "own `listen`",
            same("dealer", "address", "listen")),
    Mistake("peer and dealer are one", "dealer.address", "is the same as peer.address",
            same("dealer", "address", "peer", "address")),
    Mistake("both parties on one machine", "peer.address", "must not share one",
            put("peer", "address", "0.0.0.0:7001")),
    Mistake("a worker on the port of the front end", "mpc.listen", "which is `listen`",
            same("mpc", "listen", "listen"), server=PARTY1),
    Mistake("a worker at the dealer's port", "mpc.address", "which is `dealer.address`",
            same("mpc", "address", "dealer", "address")),
    Mistake("peer away", "peer", "refuses connections", nowhere("peer")),
    Mistake("peer's host unknown", "peer", "its host name is unknown",
            put("peer", "address", "no-such-host.invalid:7001")),
    Mistake("peer's workers away", "mpc", "worker 0 of party 1", nowhere("mpc")),
    Mistake("dealer away", "dealer", "refuses connections", nowhere("dealer")),
    Mistake("another rounding", "peer", "rounding: exact here, one-unit there",
            put("", "rounding", "exact")),
    Mistake("another engine", "peer", "engine: crypten here, fused there",
            put("", "engine", "crypten")),
    Mistake("another largest batch", "peer", "max_batch: 32 here, 64 there",
            put("limits", "max_batch", 32)),
    Mistake("another margin", "peer", "cohort digits: margin: 0.7 here, 1.0 there",
            cohort(margin=0.7)),
    Mistake("another architecture", "peer", "cohort digits: architecture", cohort(components=8)),
    Mistake("a cohort of one party", "peer", "cohort faces: not configured there", second_cohort),
    Mistake("a name that no admin can have", "file", "write `kim`, not its URI",
            put("", "admins", ["spiffe://privedge/admin/kim"])),
    Mistake("one name in place of a list", "file", 'must be a list, as in ["one", "two"]',
            put("", "admins", "kim")),
    Mistake("readers of metrics that are nowhere", "file", "give `listen` too",
            put("metrics", "readers", ["prometheus"])),
    Mistake("a margin of a cohort, and no word of an empty list", "file", "cohorts.0.margin",
            cohort(margin=8)),
    Mistake("a port of chance", "listen", "port 0 is another one at each start",
            put("", "listen", "127.0.0.1:0")),
    Mistake("a registry by chance of where it was started", "file", "the whole path",
            put("", "registry_url", "sqlite:///registry.sqlite")),
    Mistake("a folder of something else as state", "state", "is no state folder, for it holds etc",
            system_folder),
    Mistake("a reserve larger than the disk", "disk", "there is no room for a reserve",
            put("disk", "reserve_mib", 10**9)),
    Mistake("state missing", "state", "mkdir -p -m 700", put("", "state", "none")),
    Mistake("state is no folder", "state", "is no folder", state_is_a_file),
    Mistake("state open to others", "state", "chmod 700", open_state),
    Mistake("state of the other party", "state", "party 1's, and `index` is 0", state_of_party_1),
    Mistake("state wiped", "peer", "party 0 has an older or empty registry", wiped_state),
    Mistake("identity damaged", "state", "identity.json is damaged", damaged_identity),
    Mistake("encrypted, and no key ring named", "at_rest", "name its key ring", encrypted_state()),
    Mistake("encrypted with another key ring", "at_rest", "is not the key ring of",
            encrypted_state("another")),
    Mistake("no key ring before a first start", "at_rest", "keys create", no_key_ring_yet),
    Mistake("a file for the audit log", "state", "audit is no folder", a_file_for("audit")),
    Mistake("a file for the shares", "state", "shares is no folder", a_file_for("shares")),
    Mistake("a damaged audit log", "state", "is damaged",
            a_file_for("audit/999999999999.jsonl", "{\n")),
    Mistake("a folder for the lock", "state", "lock cannot be used", lock_is_a_folder),
    Mistake("an older registry", "state", "it is older (epoch 0)",
            changed_registry("UPDATE state_folder SET epoch = 0")),
    Mistake("registry of another folder", "state", "belongs to another state folder",
            changed_registry(f"UPDATE state_folder SET folder = '{'0' * 32}'")),
    Mistake("registry of another deployment", "peer", "deployment 00000000 here",
            changed_registry(f"UPDATE state_folder SET deployment = '{'0' * 32}'")),
    Mistake("registry of a newer release", "state", "has schema version 99",
            changed_registry("UPDATE meta SET schema_version = 99")),
    Mistake("registry lost", "state", "it is empty or of an older release", no_registry),
    Mistake("registry_url without sense", "state", "not a database URL",
            put("", "registry_url", "somewhere")),
    Mistake("PostgreSQL without its driver", "state", "privedge-parties[postgres]",
            registry_without_driver),
    Mistake("disk nearly full", "disk", "min_free_percent",
            put("disk", "min_free_percent", 99.999)),
    Mistake("reserve gone", "disk", "the reserve is gone", no_reserve),
    Mistake("spec file missing", "cohorts", "cannot read",
            cohort(preset=None, components=None, spec_file="none.json")),
    Mistake("spec file wrong", "cohorts", f"cohort {COHORT}: ", wrong_spec),
    Mistake("preset unknown", "cohorts", f"cohort {COHORT}: ", cohort(preset="subspace31")),
    Mistake("more threads than cores", "workers", "lower `workers` or `threads`",
            put("", "threads", 64)),
    Mistake("more bundles than memory", "memory", "memory_mib", put("pool", "memory_mib", 10**8)),
    Mistake("more masks than memory", "memory", "weight_cache_mib",
            put("limits", "weight_cache_mib", 10**8), server=DEALER),
    Mistake("no place for kernels", "kernels", "is no folder", cache_is_a_file),
    Mistake("traces without their package", "packages", "privedge[otel]", traces_without_package),
    Mistake("another CrypTen", "packages", "crypten 0.3.0 is installed", other_crypten),
    Mistake("another party's file", "tls", "is for the role party0",
            lambda place, fields: fields.update(
                tls=fields_of(place.deployment, PARTY0)["tls"]), server=PARTY1),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_w61_a_planted_mistake_is_named_in_one_line(place, mistake):
    fields = fields_of(place.deployment, mistake.server)
    mistake.plant(place, fields)
    faults = place.faults(fields)
    assert [each.about for each in faults] == [mistake.about], [each.line for each in faults]
    (line,) = (each.line for each in faults)
    assert mistake.text in line
    assert "\n" not in line and len(line) < 400


def test_w61_every_wrong_key_of_a_file_has_its_line(place):
    fields = fields_of(place.deployment, PARTY0) | {"enigne": 2, "workers": 0}
    lines = [each.line for each in place.faults(fields)]
    assert len(lines) == 2
    assert "enigne" in lines[1] and "workers" in lines[0]


def test_w61_a_port_that_another_program_has_is_named(place):
    fields = fields_of(place.deployment, PARTY0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        fields["listen"] = f"127.0.0.1:{other.getsockname()[1]}"
        (fault,) = place.faults(fields)
    assert "another process listens there" in fault.line


@pytest.mark.parametrize(("table", "about"), [("peer", "peer"), ("dealer", "dealer")])
def test_w61_a_server_in_the_place_of_another_is_named(place, table, about):
    """The peer's address is party 0's of another deployment, or so is the dealer's."""
    fields = fields_of(place.deployment, PARTY0)
    with impostor(place.deployment, PARTY0, AboutServicer()) as address:
        fields[table]["address"] = address
        (fault,) = place.faults(fields)
    assert fault.about == about
    assert "is another server than the one asked for" in fault.line


@pytest.mark.parametrize(
    ("servicer", "text"),
    [
        (LaterVersion(), "disagrees on mpc: "),
        (OtherClock(), "clock: 3600 s ahead of this"),
    ],
)
def test_w61_a_dealer_of_another_version_or_time_is_named(place, servicer, text):
    fields = fields_of(place.deployment, PARTY1)
    with impostor(place.deployment, DEALER, servicer) as address:
        fields["dealer"]["address"] = address
        (fault,) = place.faults(fields)
    assert fault.about == "dealer" and text in fault.line


def test_w61_a_server_that_never_answers_is_given_up(place):
    fields = fields_of(place.deployment, PARTY1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        fields["dealer"]["address"] = address
        (fault,) = place.faults(fields)
    assert fault.about == "dealer"
    assert address in fault.line and "answer" in fault.line


def test_w61_without_admins_there_is_a_hint_and_no_fault(place):
    fields = fields_of(place.deployment, DEALER) | {"admins": []}
    path = place.folder / "dealer.toml"
    path.write_text(toml(fields))
    found = list(check_server(read(path)))
    assert [each.about for each in found if not each.is_fault] == ["admins", "tls", "listen"]
    assert [each for each in found if each.is_fault] == []


def test_gameday_one_authority_for_several_servers_is_a_hint(place):
    fields = fields_of(place.deployment, PARTY1)
    path = place.folder / "server.toml"
    path.write_text(toml(fields))
    (line,) = (each.line for each in check_server(read(path)) if each.about == "tls")
    assert "(party 0, party 1, the dealer)" in line


def test_w61_an_own_state_folder_that_its_group_can_look_into_is_a_hint(place):
    """A start accepts it: Kubernetes opens a volume to the group of the process."""
    fields = fields_of(place.deployment, PARTY0)
    place.kept_state(fields).chmod(0o770)
    path = place.folder / "server.toml"
    path.write_text(toml(fields))
    found = list(check_server(read(path)))
    assert [each for each in found if each.is_fault] == []
    (line,) = (each.line for each in found if each.about == "state")
    assert "its group can look into it" in line


def test_w61_the_key_ring_of_an_encrypted_folder_and_a_free_port_for_metrics_are_no_fault(place):
    fields = fields_of(place.deployment, PARTY0)
    encrypted_state()(place, fields)
    fields["at_rest"] = {"key_file": str(place.folder / "written")}
    fields["metrics"] = {"listen": place.free_address()}
    assert place.faults(fields) == []


def test_w61_a_port_for_metrics_that_is_taken_is_a_hint_while_the_server_runs(place):
    """It is this server's own, as far as a check can tell."""
    fields = fields_of(place.deployment, PARTY0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        fields["metrics"] = {"listen": f"127.0.0.1:{taken.getsockname()[1]}"}
        assert place.faults(fields) == []
