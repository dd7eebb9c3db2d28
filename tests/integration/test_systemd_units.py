"""The units of deploy/systemd, before any of them runs (test_runbooks.py runs their commands)."""

import os
import shutil
import subprocess

import pytest
from units import UNITS, Machine, Unit

from parties.__main__ import _parser
from parties.serving.lifecycle import _GRACE_S

SERVERS = ("privedge-party@0.service", "privedge-party@1.service", "privedge-dealer.service")
UPKEEP = tuple(
    f"privedge-{what}.service" for what in ("backup@0", "verify@1", "certificate@dealer")
)
MOST_EXPOSED = 3.0
# Every unit has these, in the same words.
SANDBOX = (
    "NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "ProtectSystem",
    "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers", "ProtectProc",
    "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality", "SystemCallFilter", "UMask",
)  # fmt: skip
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze; .ci/run installs it"
)


@pytest.fixture
def machine(tmp_path):
    machine = Machine.made(tmp_path / "machine", {})
    for file in UNITS.iterdir():
        shutil.copy(file, machine.folder / "etc/systemd/system")
    return machine


def analysed(machine, name, *arguments):
    """What systemd-analyze says of a unit, with its commands at paths that exist."""
    template = UNITS / (name if "@" not in name else f"{name.partition('@')[0]}@.service")
    copy = machine.folder / name
    copy.write_text(machine.here(template.read_text()))
    return subprocess.run(
        ["systemd-analyze", *arguments, copy], capture_output=True, text=True, timeout=60
    )


@needs_systemd
@pytest.mark.parametrize("name", [*SERVERS, *UPKEEP])
def test_a_unit_is_correct_and_exposed_to_little(machine, name):
    done = analysed(machine, name, "verify", "--man=no")
    assert (done.returncode, done.stderr) == (0, "")
    threshold = str(int(MOST_EXPOSED * 10))
    done = analysed(
        machine, name, "security", "--offline=true", "--no-pager", f"--threshold={threshold}"
    )
    assert done.returncode == 0, done.stdout


@needs_systemd
def test_a_unit_without_a_sandbox_is_seen(machine):
    (machine.folder / "bare.service").write_text("[Service]\nExecStart=/bin/true\n")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30"]
    done = subprocess.run([*command, machine.folder / "bare.service"], capture_output=True)
    assert done.returncode != 0


@pytest.mark.parametrize("name", [*SERVERS, *UPKEEP])
def test_every_unit_has_the_same_sandbox(machine, name):
    first, unit = machine.unit(SERVERS[0]), machine.unit(name)
    for key in SANDBOX:
        assert unit.values[key] == first.values[key], key
    # Compiled kernels need memory that is written first and executed then.
    assert (unit.one("MemoryDenyWriteExecute") == "true") == (name in UPKEEP)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_is_started_again_but_for_what_its_operator_must_mend(machine, name):
    unit = machine.unit(name)
    assert unit.one("Restart") == "on-failure" and unit.one("StartLimitIntervalSec") == "0"
    assert unit.words("RestartPreventExitStatus") == [str(os.EX_CONFIG)]
    assert float(unit.one("TimeoutStopSec")) > 2 * _GRACE_S
    assert unit.one("Type") == "notify"


@pytest.mark.parametrize("name", SERVERS)
def test_the_command_of_a_server_is_one_that_there_is_and_its_key_is_a_credential(machine, name):
    unit = machine.unit(name)
    _, *module, kind, option, file = unit.command
    assert module == ["-m", "parties"]
    assert _parser().parse_args([kind, option, file]).server == kind
    role = name.removeprefix("privedge-").removesuffix(".service").replace("@", "")
    assert file.endswith(f"/etc/privedge/{role}.toml")
    (loaded,) = unit.words("LoadCredential")
    assert loaded.endswith(f"/etc/privedge/certs/{role}.key")


def with_drop_in(name):
    """A unit as systemd reads it with the drop-in for PostgreSQL: an empty value empties a list."""
    template = UNITS / f"{name.partition('@')[0]}@.service"
    unit = Unit(name, template.read_text())
    for key, values in Unit(name, (UNITS / "postgresql.conf").read_text()).values.items():
        unit.values[key] = [*unit.values[key], *values]
        while "" in unit.values[key]:
            unit.values[key] = unit.values[key][unit.values[key].index("") + 1 :]
    return unit


@pytest.mark.parametrize("name", ["privedge-backup@0.service", "privedge-verify@1.service"])
def test_backup_and_verification_reach_a_database_with_the_drop_in_only(machine, name):
    """A registry may be in PostgreSQL over TCP; the server itself reaches it anyway."""
    server, bare, unit = machine.unit(SERVERS[0]), machine.unit(name), with_drop_in(name)
    assert bare.one("PrivateNetwork") == "true" and bare.words("IPAddressDeny") == ["any"]
    assert unit.one("PrivateNetwork") == "false" and not unit.words("IPAddressDeny")
    families = "RestrictAddressFamilies"
    assert bare.words(families) == ["AF_UNIX"]
    assert set(unit.words(families)) == set(server.words(families))
    for key in SANDBOX:
        assert unit.values[key] == bare.values[key], key


@needs_systemd
@pytest.mark.parametrize("name", ["privedge-backup@0.service", "privedge-verify@1.service"])
def test_systemd_understands_the_drop_in(machine, name):
    folder = machine.folder / f"{name}.d"
    folder.mkdir()
    shutil.copy(UNITS / "postgresql.conf", folder)
    done = analysed(machine, name, "verify", "--man=no")
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "postgresql.conf").write_text("[Service]\nNoSuchKey=1\n")  # it is really read
    assert "NoSuchKey" in analysed(machine, name, "verify", "--man=no").stderr


def test_every_timer_has_its_service():
    timers = [file for file in UNITS.iterdir() if file.suffix == ".timer"]
    assert {timer.with_suffix(".service").name for timer in timers} == {
        f"{Unit(name, '').name.partition('@')[0]}@.service" for name in UPKEEP
    }
    assert all(timer.with_suffix(".service").exists() for timer in timers)
    for timer in timers:
        unit = Unit(timer.name, timer.read_text())
        assert unit.one("OnCalendar") and unit.one("Persistent") == "true"
