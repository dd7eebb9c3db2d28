"""The folder in which `privedge up` keeps what it makes of one folder of pictures; mode 0700.

    up.json          whose pictures, which models are of which pictures, what the servers serve
    client.toml      for `privedge query --config`
    models/          OWNER.ran, in the clear
    certs/ *.toml state/ logs/      the three servers (deployment.py)
    run/             which processes run (processes.py)

Sees models, keys and both parties' shares: whoever can read this folder can read everything.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import privedge
from privedge import private_file
from privedge.errors import ConfigError
from privedge.local import processes

# So that no key or model is committed by mistake.
_IGNORED = "*\n"
_RECORD = "up.json"
# As `train_all` writes them.
_ENDINGS = ("", ".unfinished")
# What is there before the record is.
_FIRST = frozenset({"models", "run"})


@dataclass(frozen=True)
class Record:
    """What is in a home. `sizes` has heights, widths and channels of pictures that were read, by
    the SHA-256 of their files; `models` says of what each owner's model was made; `serving` names
    all that the servers hold, and is empty while that is not certain; `ports` are theirs.
    """

    pictures: str
    version: str = privedge.__version__
    sizes: dict[str, tuple[int, int, int]] = field(default_factory=dict, repr=False)
    models: dict[str, str] = field(default_factory=dict)
    serving: str = ""
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Home:
    """One such folder, absolute, and the pictures that it is for."""

    folder: Path
    pictures: Path

    @property
    def models(self) -> Path:
        """Where trained models are."""
        return self.folder / "models"

    @property
    def client_config(self) -> Path:
        """The file that names who asks and where the parties are."""
        return self.folder / "client.toml"

    def model(self, owner: str) -> Path:
        """The file of an owner's model."""
        return self.models / f"{owner}.ran"

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Make the folder and keep every other command out of it. New files are this user's only.

        Raises ConfigError if it cannot be used, is for another folder of pictures or was not made
        here.
        """
        mask = os.umask(0o077)
        try:
            with self._taken():
                yield
        finally:
            os.umask(mask)

    @contextmanager
    def _taken(self) -> Iterator[None]:
        try:
            self._require_own()
            self.models.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / ".gitignore").write_text(_IGNORED)
        except OSError as error:
            raise ConfigError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another --home"
            ) from None
        with processes.this_command(self.folder):
            record = self.record
            if record.pictures != str(self.pictures):
                raise ConfigError(
                    f"{self.folder}: is for {record.pictures}; give another --cohort or --home"
                )
            self.write(record)
            # Of a command that was killed while it wrote.
            for part in (*self.models.glob(".*"), *self.folder.glob(".*.part")):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            yield

    def _require_own(self) -> None:
        """Parts of it will be removed, so it must not be anybody's folder."""
        if not self.folder.exists() or (self.folder / _RECORD).exists():
            return
        found = {entry.name for entry in self.folder.iterdir() if entry.name[0] != "."}
        if found - _FIRST:
            raise ConfigError(
                f"{self.folder}: is not empty and was not made by `privedge up`; "
                "choose another --home"
            )

    @property
    def record(self) -> Record:
        """What is recorded here; nothing if that cannot be read."""
        try:
            given = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
            found = Record(**given | {"ports": tuple(given["ports"])})
            # Another version may see pictures, and train, in another way.
            return found if found.version == privedge.__version__ else Record(found.pictures)
        except (OSError, ValueError, TypeError, KeyError):
            return Record(str(self.pictures))

    def write(self, record: Record) -> None:
        """Record it. Raises CheckpointError."""
        private_file.write(self.folder / _RECORD, json.dumps(asdict(record)).encode())

    def remove(self, *folders: str) -> None:
        """Folders of servers that do not run, such as certs."""
        for name in folders:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def remove_models_but(self, owners: Collection[str]) -> None:
        """Models and unfinished trainings of everybody but `owners`."""
        kept = {self.model(owner).name + ending for owner in owners for ending in _ENDINGS}
        for file in self.models.iterdir():
            if file.name not in kept:
                file.unlink()


def stop(home: Home) -> bool:
    """End whatever runs for `home`, a command at work there included. Returns whether any did.

    Raises Unreachable if a process cannot be ended.
    """
    if not (home.folder / _RECORD).exists():
        return False
    command = processes.stop_command(home.folder)
    with processes.this_command(home.folder):
        return bool(processes.stop_servers(home.folder)) or command


def default(pictures: Path, cohort: str) -> Path:
    """privedge-up/COHORT in this folder, or beside the pictures if this folder is among them."""
    here, real = Path.cwd(), pictures.resolve()
    inside = here == real or real in here.parents
    return (pictures.parent if inside else here) / "privedge-up" / cohort
