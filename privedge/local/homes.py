"""The folder of `privedge up` for one folder of pictures; mode 0700.

    up.json          the folder of pictures, what each model was made from, what the servers serve
    client.toml      for `privedge query --config`
    sample.npz       a vector to ask with, for an npz of vectors
    models/          OWNER.ran, in the clear
    certs/ *.toml state/ logs/      the three servers (deployment.py)
    run/             the ids of running processes (processes.py)

Sees models, keys and both parties' shares: anyone who can read this folder can read everything.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import privedge
from privedge import private_file, regular_file
from privedge.errors import ConfigError
from privedge.local import processes

# Keeps git from committing a key or a model by mistake.
_IGNORED = "*\n"
_RECORD = "up.json"
# `train_all` adds these to the name of a model.
_ENDINGS = ("", ".unfinished")
# These folders exist before the record is written.
_FIRST = frozenset({"models", "run"})


@dataclass(frozen=True)
class Record:
    """The record of a home.

    pictures: the folder of pictures.
    sizes: height, width and channels of each picture that was read, by the SHA-256 of its file.
    pixels: the digest of each picture as it is decoded, by the same.
    models: for each owner, the digest of everything that the model was made from.
    serving: the digest of everything that the servers hold; empty while that is not certain.
    ports: the ports of the servers.
    """

    pictures: str
    version: str = privedge.__version__
    sizes: dict[str, tuple[int, int, int]] = field(default_factory=dict, repr=False)
    pixels: dict[str, str] = field(default_factory=dict, repr=False)
    models: dict[str, str] = field(default_factory=dict)
    serving: str = ""
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Home:
    """A home folder and its folder of pictures, both absolute."""

    folder: Path
    pictures: Path

    @property
    def models(self) -> Path:
        """The folder of the trained models."""
        return self.folder / "models"

    @property
    def client_config(self) -> Path:
        """The client's configuration file."""
        return self.folder / "client.toml"

    @property
    def sample(self) -> Path:
        """The file with one vector to ask with, for an npz of vectors."""
        return self.folder / "sample.npz"

    def model(self, owner: str) -> Path:
        """Return the file of an owner's model."""
        return self.models / f"{owner}.ran"

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Make the folder, and keep every other command out of it during the block.

        Only this user can read files that are made in the block. Raises ConfigError if the folder
        cannot be used, is for other pictures, or was not made by `privedge up`.
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
            # Remove incomplete files of a command that was killed while it wrote.
            for part in (*self.models.glob(".*"), *self.folder.glob(".*.part")):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
            yield

    def _require_own(self) -> None:
        """Raise ConfigError for a folder that is not ours, because parts of it will be removed."""
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
        """The record of this home, or an empty one if it cannot be read."""
        try:
            given = json.loads(regular_file.read(self.folder / _RECORD))
            found = Record(**given | {"ports": tuple(given["ports"])})
            # Another version may read pictures or train differently.
            return found if found.version == privedge.__version__ else Record(found.pictures)
        except (OSError, ValueError, TypeError, KeyError):
            return Record(str(self.pictures))

    def write(self, record: Record) -> None:
        """Write the record. Raises CheckpointError."""
        private_file.write(self.folder / _RECORD, json.dumps(asdict(record)).encode())

    def remove(self, *folders: str) -> None:
        """Remove folders of servers, such as certs. The servers must not be running."""
        for name in folders:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def remove_models_but(self, owners: Collection[str]) -> None:
        """Remove the models and unfinished trainings of everybody but `owners`."""
        kept = {self.model(owner).name + ending for owner in owners for ending in _ENDINGS}
        for file in self.models.iterdir():
            if file.name not in kept:
                file.unlink()


def stop(home: Home) -> bool:
    """End all processes of `home`, including a running command. Returns whether there were any.

    Raises ConfigError if the home is for other pictures, Unreachable if a process cannot be ended.
    """
    if not (home.folder / _RECORD).exists():
        return False
    if home.record.pictures != str(home.pictures):
        raise ConfigError(
            f"{home.folder}: belongs to {home.record.pictures}; give that folder, or choose "
            "another --home"
        )
    command = processes.stop_command(home.folder)
    with processes.this_command(home.folder):
        return bool(processes.stop_servers(home.folder)) or command


def default(pictures: Path, cohort: str) -> Path:
    """Return the default home: privedge-up/COHORT in the current folder.

    If the current folder is in the folder of pictures, the home is beside that folder instead.
    """
    here, real = Path.cwd(), Path(os.path.realpath(pictures))
    inside = here == real or real in here.parents
    return (pictures.parent if inside else here) / "privedge-up" / cohort
