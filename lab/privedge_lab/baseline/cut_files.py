"""The three files of a network that was trained to be cut, all in one folder.

NAME.head   to the devices        (head_file.py)
NAME.key    to the devices        (head_file.py)
NAME.tail   to the server, alone  (model_file.py)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from privedge import private_file
from privedge.errors import CheckpointError, ConfigError
from privedge_lab import outputs
from privedge_lab.baseline.head_file import (
    load_key,
    make_head,
    new_key,
    save_head,
    save_key,
)
from privedge_lab.baseline.model_file import save_tail
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.spec import FILE_NAME
from privedge_lab.baseline.train import Trainee


@dataclass(frozen=True)
class CutFiles:
    """The paths of the three files."""

    head: Path
    tail: Path
    key: Path

    @staticmethod
    def at(folder: Path, name: str) -> "CutFiles":
        """Return the paths of NAME's files in `folder`. Raises ConfigError for an invalid name."""
        if not FILE_NAME.fullmatch(name):
            raise ConfigError(f"{name}: a name has small letters, digits and dashes, 64 at most")
        return CutFiles(*(folder / f"{name}.{part}" for part in ("head", "tail", "key")))

    def require_writable(self) -> None:
        """Raise CheckpointError if `save` would surely fail, so that it does not after training.

        Raises ConfigError for a file that is there and no part of a network.
        """
        private_file.require_writable(self.key)
        for path in (self.head, self.tail):
            outputs.require_replaceable(path, outputs.NETWORK)

    def known_or_new_key(self) -> bytes:
        """Return the deployment's key if there is one, else a fresh one, which `save` will write.

        Raises CheckpointError for a file that is not a key, or that others can read.
        """
        return load_key(self.key) if self.key.exists() else new_key()

    def save(self, trainee: Trainee, network: nn.Sequential, facts: Mapping[str, str]) -> None:
        """Write the network that `train` made of `trainee`; replace an old head and tail.

        Raises CheckpointError, also if another key exists. If writing stops half way, head and
        tail do not fit each other, and no query is answered.
        """
        spec, cut = trainee.spec, trainee.cut
        if not self.key.exists():
            save_key(self.key, trainee.key)
        elif load_key(self.key) != trainee.key:
            raise CheckpointError(f"{self.key}: another key is here; use it, or move it away first")
        written = save_tail(self.tail, spec, cut, tail(network, cut))
        part = make_head(
            spec, cut, head(network, cut), trainee.defence, tail=written.digest, key=trainee.key
        )
        save_head(self.head, replace(part, facts=facts))
