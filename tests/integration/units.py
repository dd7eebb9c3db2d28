"""What a unit file of deploy/systemd does, on a machine without systemd and without root.

A `Machine` is a folder in the place of an operator's machine: /etc/privedge is
MACHINE/etc/privedge, and so on. Its `systemctl` starts the command of a unit with what systemd
gives it: credentials, folders, a socket for notices, and, where the unit asks for it, memory that
is never both writable and executable. Users, namespaces and the filter of system calls are left to
systemd itself.

`python units.py MACHINE VERB UNIT` is that `systemctl`.
"""

import ctypes
import json
import os
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy/systemd"
# Folders of a machine that the documents and units name.
FOLDERS = ("/etc/privedge", "/etc/systemd/system", "/var/lib/privedge", "/run/credentials", "/root")
_START_S = 120
# What the tests themselves pass on to every process that they start.
_PASSED_ON = ("OMP_NUM_THREADS", "HOME", "PYTHONPATH")
_PR_SET_MDWE, _REFUSE_EXEC_GAIN = 65, 1


class Unit:
    """A unit file: the values of each key, in order. `name` is such as privedge-party@0.service."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        instance = name.rpartition(".")[0].partition("@")[2]
        self.values: dict[str, list[str]] = {}
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            if line and line[0] not in "#[":
                key, _, value = line.partition("=")
                value = value.replace("%i", instance).replace("%%", "%").replace("%n", name)
                self.values.setdefault(key, []).append(value)

    @property
    def command(self) -> list[str]:
        (command,) = self.values["ExecStart"]
        return [word.replace("$$", "$") for word in shlex.split(command)]

    def one(self, key: str, default: str = "") -> str:
        return self.values.get(key, [default])[-1]

    def words(self, key: str) -> list[str]:
        return [word for value in self.values.get(key, []) for word in value.split()]


class Machine:
    """`replaced` maps further words of documents and units, such as addresses, to those here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._replaced: dict[str, str] = json.loads((folder / "replaced.json").read_text())
        # The longest first, and nothing inside a longer path or name.
        words = sorted(self._replaced, key=len, reverse=True)
        self._words = re.compile(rf"(?<![\w.-])({'|'.join(map(re.escape, words))})(?![\w-])")

    @classmethod
    def made(cls, folder: Path, replaced: dict[str, str]) -> "Machine":
        """Make the folder, with commands in the place of those that need systemd or root."""
        for each in FOLDERS:
            (folder / each[1:]).mkdir(parents=True)
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        here = {each: str(folder / each[1:]) for each in FOLDERS}
        # The kernels that other tests have compiled.
        here |= {
            "/opt/privedge/bin": str(Path(sys.executable).parent),
            "/var/cache/privedge": cache,
        }
        (folder / "replaced.json").write_text(json.dumps(here | replaced))
        (folder / "bin").mkdir()
        stand_ins = {
            "systemctl": f'exec {sys.executable} {__file__} {folder} "$@"',
            "runuser": 'shift 3; exec "$@"',  # runuser -u USER -- COMMAND
        }
        for name, line in stand_ins.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
            (folder / "bin" / name).chmod(0o755)
        return cls(folder)

    def here(self, text: str) -> str:
        """Return `text` with this machine's folders and addresses."""
        return self._words.sub(lambda found: self._replaced[found[1]], text)

    def unit(self, name: str) -> Unit:
        """Read an installed unit. Raises FileNotFoundError."""
        template = re.sub(r"@[^.]*", "@", name)
        text = (self.folder / "etc/systemd/system" / template).read_text()
        unit = Unit(name, text)
        unit.values = {key: [self.here(each) for each in all] for key, all in unit.values.items()}
        return unit

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def pid(self, name: str) -> int | None:
        file = self.folder / f"{name}.pid"
        return int(file.read_text()) if file.exists() else None

    def start(self, name: str) -> int:
        """Start a service, and return once it says READY=1; run one of `Type=oneshot`."""
        unit = self.unit(name)
        environment = self._given(unit)
        if unit.one("Type") == "oneshot":
            with self.log(name).open("ab") as log:
                return subprocess.run(
                    unit.command, env=environment, stdout=log, stderr=log, umask=0o077,
                    preexec_fn=self._limits(unit), check=False,
                ).returncode  # fmt: skip
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            address = self.folder / "notify"
            address.unlink(missing_ok=True)
            os.chdir(self.folder)  # the path of a socket must be short
            notices.bind(address.name)
            environment["NOTIFY_SOCKET"] = address.name
            with self.log(name).open("ab") as log:
                process = subprocess.Popen(
                    unit.command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    umask=0o077, start_new_session=True, cwd=self.folder,
                    preexec_fn=self._limits(unit),
                )  # fmt: skip
            (self.folder / f"{name}.pid").write_text(str(process.pid))
            return self._until_ready(notices, process, name)

    def stop(self, name: str) -> None:
        """SIGTERM to the main process only, as `KillMode=mixed` says; SIGKILL to what is left."""
        pid = self.pid(name)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            running = os.pidfd_open(pid)
            os.kill(pid, signal.SIGTERM)
            select.select([running], [], [], float(self.unit(name).one("TimeoutStopSec")))
            os.close(running)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        (self.folder / f"{name}.pid").unlink()

    def stop_all(self) -> None:
        for file in self.folder.glob("*.pid"):
            self.stop(file.stem)

    def _given(self, unit: Unit) -> dict[str, str]:
        """Make what systemd makes for a unit, and return its environment."""
        given = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        given |= {key: value for key, value in os.environ.items() if key.startswith("COV")}
        given["PATH"] = f"{self.folder}/bin:/usr/local/bin:/usr/bin:/bin"
        for folder in unit.words("StateDirectory"):
            path = self.folder / "var/lib" / folder
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(int(unit.one("StateDirectoryMode"), 8))
        if "CacheDirectory" in unit.values:
            given["CACHE_DIRECTORY"] = self._replaced["/var/cache/privedge"]
        credentials = self.folder / "run/credentials" / unit.name
        shutil.rmtree(credentials, ignore_errors=True)
        for word in unit.words("LoadCredential"):
            credentials.mkdir(mode=0o700, exist_ok=True)
            name, _, source = word.partition(":")
            shutil.copy(source, credentials / name)
            (credentials / name).chmod(0o400)
            given["CREDENTIALS_DIRECTORY"] = str(credentials)
        unit.values["ExecStart"] = [
            unit.one("ExecStart").replace("${CREDENTIALS_DIRECTORY}", str(credentials))
        ]
        return given

    @staticmethod
    def _limits(unit: Unit):
        if unit.one("MemoryDenyWriteExecute") != "true":
            return None
        # Older kernels than 6.3 do not know it, and systemd uses its filter there.
        return lambda: ctypes.CDLL(None).prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0)

    def _until_ready(self, notices: socket.socket, process: "subprocess.Popen[bytes]", name: str):
        ended = os.pidfd_open(process.pid)
        while select.select([notices, ended], [], [], _START_S)[0] == [notices]:
            if b"READY=1" in notices.recv(4096).splitlines():
                return 0
        status = process.poll()
        (self.folder / f"{name}.pid").unlink()
        sys.stderr.write(f"{name}: {status}: {self.log(name).read_text()[-500:]}\n")
        return 1


def main(folder: str, verb: str, *arguments: str) -> int:
    """`systemctl VERB UNIT`. Returns the exit status."""
    machine = Machine(Path(folder))
    now = verb != "enable" or "--now" in arguments
    for name in (each for each in arguments if not each.startswith("-")):
        name = name if name.endswith((".service", ".timer")) else f"{name}.service"
        machine.unit(name)
        if name.endswith(".timer") or not now:
            machine.unit(name.replace(".timer", ".service"))
            continue
        if verb in ("stop", "restart"):
            machine.stop(name)
        if verb in ("start", "restart", "enable") and (status := machine.start(name)):
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
