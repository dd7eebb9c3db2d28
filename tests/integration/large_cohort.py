"""A cohort of many models, put straight into the state folders of two parties that do not run."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert

from parties.config.party import PartyConfig
from parties.party.models.database import connect
from parties.party.models.share_files import SUFFIX
from parties.party.models.state_folder import open_models, registry_url
from parties.party.models.tables import Model, State
from privedge.ran.presets import preset
from privedge.sharing.manifest import ModelManifest, TensorEntry, commitment

COHORT = "vectors"
SPEC = preset("vector", size=2)
SECTION = {"name": COHORT, "preset": "vector", "size": 2}


@dataclass(frozen=True)
class MadeUp:
    """One model: what both parties know, and the share and the salt of each."""

    manifest: ModelManifest
    shares: tuple[bytes, bytes]
    salts: tuple[bytes, bytes]


def made_up(number: int) -> MadeUp:
    """Model `number` of owner `owner-NUMBER`; the bytes are as random as a digest."""
    model_id = hashlib.sha256(f"model {number}".encode()).hexdigest()[:32]
    salts = tuple(hashlib.sha256(f"salt {party} {number}".encode()).digest() for party in (0, 1))
    entries, parts = [], ([], [])
    for name, shape in SPEC.parameters().items():
        size = TensorEntry(name, shape, ("", "")).share_bytes
        committed = []
        for party, salt in enumerate(salts):
            share = hashlib.shake_256(f"{name} {party} {number}".encode()).digest(size)
            each = commitment(salt, name)
            each.update(share)
            committed.append(each.hexdigest())
            parts[party].append(share)
        entries.append(TensorEntry(name, shape, tuple(committed)))
    owner = f"owner-{number:07}"
    manifest = ModelManifest(model_id, COHORT, owner, SPEC.digest(), tuple(entries))
    return MadeUp(manifest, (b"".join(parts[0]), b"".join(parts[1])), salts)


def fill(configs: tuple[PartyConfig, PartyConfig], count: int) -> None:
    """Give both parties `count` models: active at party 0, and only uploaded at party 1."""
    for config in configs:
        with open_models(config, None if config.index else object()):
            pass  # now there is an empty registry that belongs to the folder
    engines = [connect(registry_url(config)) for config in configs]
    folders = [config.state / "shares" for config in configs]
    for start in range(0, count, 5000):
        models = [made_up(number) for number in range(start, min(count, start + 5000))]
        for party, state in enumerate((State.ACTIVE, State.UPLOADED)):
            with engines[party].begin() as connection:
                connection.execute(insert(Model), list(_rows(models, party, state)))
            _write(folders[party], models, party)
    for engine in engines:
        engine.dispose()


def _rows(models: list[MadeUp], party: int, state: State) -> Iterator[dict[str, object]]:
    for each in models:
        manifest = each.manifest
        yield {
            "model_id": manifest.model_id,
            "cohort": COHORT,
            "owner": manifest.owner,
            "state": state,
            "manifest_json": manifest.to_json(),
            "manifest_digest": manifest.digest(),
            "salt": each.salts[party],
            "created_at": int(manifest.owner[-7:]) // 3,
        }


def _write(folder: Path, models: list[MadeUp], party: int) -> None:
    for each in models:
        with closing((folder / f"{each.manifest.model_id}{SUFFIX}").open("wb")) as file:
            file.write(each.shares[party])
