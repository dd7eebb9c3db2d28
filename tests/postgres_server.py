"""A real PostgreSQL server for tests, on a loopback port, in a temporary folder.

Debian's package `postgresql` brings the programs. PostgreSQL refuses to run as root, so where tests
do, it runs as the user `postgres` of that package.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil
import psycopg

_ADMIN, USER, PASSWORD = "admin", "privedge", "open-sesame-4711"
_TRIES = 2000
_SETTINGS = {
    "fsync": "off",  # tests kill processes, never the machine
    "max_connections": "40",
    "shared_buffers": "16MB",
    "unix_socket_directories": "",
    "log_statement": "none",
}


def programs() -> Path | None:
    """The newest installed version's folder of programs; None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: each.parent.name)
    return found[-1] if found else None


class PostgresServer:
    """One server, with a user that needs a password. `start` after `kill` goes on where it was."""

    def __init__(self) -> None:
        bin_folder = programs()
        assert bin_folder is not None
        self._bin = bin_folder
        self._folder = Path(tempfile.mkdtemp(prefix="privedge-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._databases = 0
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            for path in (self._folder, password):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._run("initdb", "--no-sync", "--encoding=UTF8", "--locale=C", f"--username={_ADMIN}",
                  "--auth=scram-sha-256", f"--pwfile={password}", str(self._data))  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def __enter__(self) -> "PostgresServer":
        self.start()
        self.sql("postgres", f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Run, and return once it answers."""
        # What a killed server has left behind refuses the next one until it is gone.
        for _ in range(_TRIES):
            settings = [word for item in _SETTINGS.items() for word in ("-c", "=".join(item))]
            line = self._as_its_user("postgres", "-D", str(self._data), "-p", str(self.port))
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*line, "-c", "listen_addresses=127.0.0.1", *settings], stdout=log, stderr=log
                )
            while self._process.poll() is None:
                if self._answers():
                    return
        raise AssertionError((self._folder / "log").read_text())

    def kill(self) -> None:
        """SIGKILL to the server and all of its sessions."""
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        each_one = [parent, *parent.children(recursive=True)]
        for process in each_one:
            process.kill()
        psutil.wait_procs(each_one[1:])
        self._process.wait()

    def stop_in_its_tracks(self) -> None:
        """SIGSTOP: it is there and accepts connections, and says nothing."""
        self._each("suspend")

    def go_on(self) -> None:
        """SIGCONT."""
        self._each("resume")

    def new_database(self, encoding: str = "UTF8") -> str:
        """The URL of an empty database, with the password in it."""
        self._databases += 1
        name = f"registry{self._databases}"
        form = f"ENCODING '{encoding}' TEMPLATE template0"
        self.sql("postgres", f"CREATE DATABASE {name} OWNER {USER} {form}")
        return self.url(name)

    def url(self, database: str, *, password: str | None = PASSWORD) -> str:
        """The URL of a database."""
        secret = "" if password is None else f":{password}"
        return f"postgresql+psycopg://{USER}{secret}@127.0.0.1:{self.port}/{database}"

    def sql(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the server's administrator; returns the rows of a query."""
        where = {"host": "127.0.0.1", "port": self.port, "dbname": database}
        with psycopg.connect(**where, user=_ADMIN, password=PASSWORD, autocommit=True) as session:
            done = session.execute(statement)
            return done.fetchall() if done.description else []

    def pass_file(self, folder: Path) -> Path:
        """A libpq password file."""
        path = folder / f"pgpass-{secrets.token_hex(4)}"
        path.touch(mode=0o600)
        path.write_text(f"127.0.0.1:{self.port}:*:{USER}:{PASSWORD}\n")
        return path

    def _each(self, order: str) -> None:
        assert self._process is not None
        parent = psutil.Process(self._process.pid)
        for process in (parent, *parent.children(recursive=True)):
            getattr(process, order)()

    def _answers(self) -> bool:
        line = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run([*line, "-t", "3"], check=False).returncode == 0

    def _as_its_user(self, program: str, *words: str) -> list[str]:
        drop = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
        # It ends with this process, however that ends.
        line = ["setpriv", "--pdeathsig=KILL", *(drop if os.geteuid() == 0 else [])]
        return [*line, str(self._bin / program), *words]

    def _run(self, program: str, *words: str) -> None:
        line = self._as_its_user(program, *words)
        done = subprocess.run(line, cwd=self._folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
