"""A cohort: models that one query is compared with. A snapshot: exactly which models those are.

Sees public facts and this party's salt of each model. Both parties compute the snapshot id from
the public facts in their own registry; equal ids mean equal architecture, margin rule, models and
order of answers.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from parties.config.cohort import CohortSection
from privedge import regular_file
from privedge.errors import CheckpointError, ConfigError, UnknownCohort
from privedge.identity.roles import Identity, Role
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec


@dataclass(frozen=True)
class Cohort:
    """What an operator configures: a name, the one architecture, the margin rule, and whom it is
    for.

    clients, owners: names or shell patterns of those who may know of it; None means all of them.
    """

    name: str
    spec: RanSpec
    margin: float
    mean_share: float = 0.0
    clients: tuple[str, ...] | None = None
    owners: tuple[str, ...] | None = None

    def admits(self, who: Identity) -> bool:
        """Return whether a caller may know of this cohort. Only clients and owners are listed."""
        listed = {Role.CLIENT: self.clients, Role.OWNER: self.owners}.get(who.role)
        return listed is None or any(fnmatchcase(who.name, pattern) for pattern in listed)

    @cached_property
    def spec_digest(self) -> str:
        """SHA-256 (hex) of the architecture; every manifest carries it."""
        return self.spec.digest()


@dataclass(frozen=True)
class SnapshotModel:
    """One model of a snapshot, where this party keeps its share of it, and the share's salt.

    version, commitments: of the last refresh; empty if there never was one.
    """

    owner: str
    model_id: str
    manifest_digest: str
    manifest_json: str
    path: Path
    salt: bytes = field(repr=False)
    version: str = ""
    commitments: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelRef:
    """One model by id and manifest digest (SHA-256, hex), and the version of its shares."""

    model_id: str
    manifest_digest: str
    version: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The active models of a cohort at one moment, ordered by owner: the answer's columns."""

    cohort: Cohort
    models: tuple[SnapshotModel, ...]

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) over spec, rule and (owner, model id, manifest digest) in order; after
        these the version of the shares, if they were refreshed.
        """
        rows = [
            (model.owner, model.model_id, model.manifest_digest, *filter(None, [model.version]))
            for model in self.models
        ]
        rule = [self.cohort.margin, self.cohort.mean_share]
        facts = {"models": rows, "rule": rule, "spec": self.cohort.spec_digest}
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """Names in the order of the answer vector."""
        return tuple(model.owner for model in self.models)

    @cached_property
    def model_ids(self) -> tuple[str, ...]:
        """Ids in the same order."""
        return tuple(model.model_id for model in self.models)


def find(cohorts: Mapping[str, Cohort], name: str) -> Cohort:
    """The cohort of that name. Raises UnknownCohort."""
    try:
        return cohorts[name]
    except KeyError:
        raise UnknownCohort("no such cohort; see [[cohorts]] of this party") from None


def find_for(cohorts: Mapping[str, Cohort], name: str, who: Identity) -> Cohort:
    """The same for a caller. One that it may not know of is as unknown as one that is not there."""
    cohort = find(cohorts, name)
    if not cohort.admits(who):
        raise UnknownCohort(f"cohort {name}: {who.uri} is not on its list")
    return cohort


def build(section: CohortSection) -> Cohort:
    """The cohort of a configuration section. Raises ConfigError naming the cohort."""
    try:
        return Cohort(
            section.name,
            _spec(section),
            section.margin,
            section.mean_share,
            clients=section.clients,
            owners=section.owners,
        )
    except (CheckpointError, ConfigError) as error:
        raise ConfigError(f"cohort {section.name}: {error}") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"cohort {section.name}: cannot read {section.spec_file}") from None


def _spec(section: CohortSection) -> RanSpec:
    if section.spec_file is not None:
        return RanSpec.from_json(regular_file.read(section.spec_file).decode())
    # Height and width only matter to "auto", which a cohort cannot name.
    name, channels = section.preset or "", section.channels
    return preset(name, height=0, width=0, channels=channels, components=section.components)
