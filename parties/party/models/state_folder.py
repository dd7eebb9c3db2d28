"""Open a party's state folder: registry, share files and the models over them, as one start-up.

state/              mode 0700
  lock              held while the party runs
  registry.sqlite   unless registry_url names another database
  shares/           one file per model
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from parties.config import PartyConfig
from parties.party.edge.peer import Peer
from parties.party.models.cohorts import Cohort, build
from parties.party.models.registry import Registry
from parties.party.models.service import ModelService
from parties.party.models.share_files import ShareFiles
from privedge.errors import ConfigError
from privedge.sharing.manifest import ModelManifest


@contextmanager
def open_models(config: PartyConfig, peer: Peer | None) -> Iterator[ModelService]:
    """The models of a party, for as long as the block runs.

    Removes what an interrupted upload or deletion left behind. `peer` is None at party 1. Raises
    ConfigError when the folder, the registry or a cohort cannot be used.
    """
    cohorts = {section.name: build(section) for section in config.cohorts}
    with _locked(config.state):
        url = config.registry_url or f"sqlite:///{config.state / 'registry.sqlite'}"
        with closing(Registry(url)) as registry:
            _require_same_architecture(registry, cohorts)
            files = ShareFiles(config.state / "shares", config.index)
            files.sweep(registry.live_ids())
            yield ModelService(cohorts, registry, files, config.limits, peer)


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """One process per folder: a second one would sweep away the first one's running uploads."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"state: cannot use {state}: {error.strerror}") from None
    with closing(os.fdopen(descriptor, "w")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"state: {state} is in use by another process") from None
        yield


def _require_same_architecture(registry: Registry, cohorts: Mapping[str, Cohort]) -> None:
    for name, cohort in cohorts.items():
        for row in registry.active(name):
            if ModelManifest.from_json(row.manifest_json).spec_digest != cohort.spec_digest:
                raise ConfigError(
                    f"cohorts: {name} has models of another architecture; "
                    "give the new architecture a new cohort name"
                )
