"""A cohort: models that one query is compared with. A snapshot: exactly which models those are.

Sees public facts and this party's salt of each model. Both parties compute the snapshot id from
the public facts in their own registry; equal ids mean equal architecture, margin rule, models and
order of answers.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from parties.config.cohort import CohortSection
from parties.config.model_check import ModelCheckSection
from parties.config.telemetry import TelemetrySection
from parties.party.budgets import safe
from parties.party.budgets.safe import UNLIMITED, LabelLimits
from privedge import regular_file
from privedge.errors import CheckpointError, ConfigError, UnknownCohort
from privedge.graph.spec import Label, ModelSpec
from privedge.identity.roles import Identity, Role
from privedge.ran import probes, rivals
from privedge.ran.any_spec import Spec
from privedge.ran.presets import behind_encoder, preset
from privedge.ran.probes import Probes
from privedge.ran.rivals import Rivals
from privedge.ran.spec import Conv, ImageShape, RanSpec, Subspace
from privedge.sharing.known import never_unknown

# What two parties alone can multiply with: inputs of a layer that all owners share, and pixels of
# an image with a frame around it (parties/mpc/twoparty/encrypted.py and layers.py).
MOST_INPUTS, MOST_PIXELS = 8192, 64 * 64

# Feature maps that keep strangers apart from one owner by public rivals (ADR 28 has figures).
_APART = ("encoder", "vector")


@dataclass(frozen=True)
class ModelCheck:
    """How new models are checked (model_checks.py). probes: public, with a band; None for none."""

    probes: Probes | None

    @property
    def word(self) -> str:
        """The digest (hex) of the probes and their band, or "bounds" without."""
        return self.probes.digest if self.probes else "bounds"


@dataclass(frozen=True)
class Cohort:
    """What an operator configures: a name, the one architecture, the margin rule, and whom it is
    for.

    clients, owners: names or shell patterns of those who may know of it; None means all of them.
    rivals: public models that the owners' models must beat; None for none. public_owners: so many
        of them, the first ones, can be an answer.
    telemetry: how scores are counted; None if they are not.
    enrolment_check, enrolment_on_match: as in the operator's file. enrolment_margin: of the check.
    model_check: how new models are checked; None if they are not.
    labels: how many its clients may have.
    serve_one_owner: whether queries are answered while one owner's pictures stand alone.
    """

    name: str
    spec: Spec
    margin: float
    mean_share: float = 0.0
    clients: tuple[str, ...] | None = None
    owners: tuple[str, ...] | None = None
    rivals: Rivals | None = None
    telemetry: TelemetrySection | None = None
    enrolment_check: str = "off"
    enrolment_on_match: str = "report"
    enrolment_margin: float = 1.0
    model_check: ModelCheck | None = None
    public_owners: int = 0
    labels: LabelLimits = UNLIMITED
    serve_one_owner: bool = False

    def admits(self, who: Identity) -> bool:
        """Return whether a caller may know of this cohort. Only clients and owners are listed."""
        listed = {Role.CLIENT: self.clients, Role.OWNER: self.owners}.get(who.role)
        return listed is None or any(fnmatchcase(who.name, pattern) for pattern in listed)

    @property
    def mean_tensor(self) -> str | None:
        """The name of the tensor that is a model's mean; None for what is no single subspace."""
        if isinstance(self.spec, ModelSpec):
            return None
        single = len(self.spec.layers) == 1 and isinstance(self.spec.layers[0], Subspace)
        return "0.mean" if single else None

    @cached_property
    def spec_digest(self) -> str:
        """SHA-256 (hex) of the architecture; every manifest carries it."""
        return self.spec.digest()

    @cached_property
    def _most_rows(self) -> int | None:
        return self.spec.most_rows if isinstance(self.spec, ModelSpec) else None

    def rows(self, limit: int) -> int:
        """The most rows of a query and of a run, where the party takes up to `limit`: fewer of a
        large model that is no RAN.
        """
        return limit if self._most_rows is None else min(limit, self._most_rows)

    def cautions(self, owners: int = 0) -> tuple[str, ...]:
        """What its operator should know of its rule for "unknown" and of its budget, a line each.
        `owners` is how many have an active model, if that is known.
        """
        if isinstance(self.spec, ModelSpec):
            return self._cautions_of_model(self.spec, owners)
        lines = []
        if self.mean_share and self.margin < 1:
            lines.append(
                "mean_share: one owner with a model that fits nothing makes strangers known; set "
                "mean_share = 0 and choose the margin again (privedge calibrate)"
            )
        if why := self.refusal(owners):
            lines.append(f"its queries are refused: {why}")
        elif reason := never_unknown(self.margin, owners or 2, self.rivals_count):
            lines.append(f"never answers unknown: {reason}; see docs/how-to/strangers.md")
        elif owners == 1 and self.spec.features.kind not in _APART:
            lines.append(
                "has one owner, and pictures without an encoder are too alike: rivals keep some "
                "strangers out, and by far not all; see docs/how-to/strangers.md"
            )
        if safe.has_embeddings(self.spec) and not self.labels.client_month:
            lines.append(
                "any client can copy its models from answers: add a table [cohorts.budget]; see "
                "docs/how-to/budgets-and-audit.md"
            )
        return tuple(f"cohort {self.name}: {line}" for line in lines)

    def _cautions_of_model(self, spec: ModelSpec, owners: int) -> tuple[str, ...]:
        lines = [f"its queries are refused: {why}"] if (why := self.refusal(owners)) else []
        if not self.labels.client_month:
            lines.append(
                "any client can copy its model from answers: add a table [cohorts.budget]; see "
                "docs/how-to/serve-models.md"
            )
        if not isinstance(spec.outputs, Label):
            lines.append(
                f"outputs = {spec.outputs.word}: scores tell much more of a model than labels do"
            )
        return tuple(f"cohort {self.name}: {line}" for line in lines)

    def refusal(self, owners: int) -> str:
        """Say why no query is answered while `owners` have an active model; empty if one is.

        Public rivals do not help pictures without an encoder: half of the strangers pass (ADR 28).
        """
        if isinstance(self.spec, ModelSpec):
            several = "it has models of several owners; delete those of before"
            return several if owners > 1 else ""
        if owners != 1 or self.serve_one_owner or self.spec.features.kind in _APART:
            return ""
        return (
            "it has one owner, and pictures without an encoder would be called this owner's "
            "whoever they show; activate another owner's model, or operators set "
            "serve_one_owner = true"
        )

    @property
    def unchecked(self) -> str:
        """What its operator should know of how new models are checked; empty if they are, and for
        a model that is no RAN, which no other owner's answers depend on.
        """
        if isinstance(self.spec, ModelSpec):
            return ""
        if self.model_check is not None and self.model_check.probes is not None:
            return ""
        return (
            f"cohort {self.name}: its new models are not checked against public probes, so one "
            "that reconstructs too much wins the images of others; see docs/how-to/check-models.md"
        )

    @property
    def rivals_count(self) -> int:
        """How many public rivals it has."""
        return len(self.rivals or ())

    @property
    def rivals_digest(self) -> str:
        """SHA-256 (hex) of the public rivals; empty without any."""
        return self.rivals.digest if self.rivals else ""


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
    # Of one new model that is checked, and that no query asks yet.
    checked: bool = False

    @cached_property
    def id(self) -> str:
        """SHA-256 (hex) over spec, rule and (owner, model id, manifest digest) in order; after
        these the version of the shares, if they were refreshed. And over the rivals, if any.
        """
        rows = [
            (model.owner, model.model_id, model.manifest_digest, *filter(None, [model.version]))
            for model in self.models
        ]
        rule = [self.cohort.margin, self.cohort.mean_share]
        facts = {"models": rows, "rule": rule, "spec": self.cohort.spec_digest}
        if self.cohort.rivals:  # left out otherwise: the ids of cohorts from before stay the same
            facts["rivals"] = self.cohort.rivals_digest
        if self.checked:
            facts["checked"] = True
        if self.cohort.public_owners:  # likewise
            facts["public_owners"] = self.cohort.public_owners
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


def build(section: CohortSection, randomness: str = "dealer") -> Cohort:
    """The cohort of a configuration section. Raises ConfigError naming the cohort.

    randomness: who makes the tuples; two parties alone cannot make those of every spec.
    """
    try:
        if section.kind == "model":
            return _of_model(section)
        spec = _spec(section)
        if randomness == "two-party":
            _check_two_parties_can(spec)
        cohort = Cohort(
            section.name,
            spec,
            section.margin,
            section.mean_share,
            clients=section.clients,
            owners=section.owners,
            rivals=None if section.rivals is None else rivals.read(section.rivals, spec),
            telemetry=section.telemetry,
            enrolment_check=section.enrolment_check,
            enrolment_on_match=section.enrolment_on_match,
            enrolment_margin=section.enrolment_margin or section.margin,
            model_check=_model_check(section.model_check, spec),
            public_owners=section.public_owners,
            labels=safe.of_cohort(section.budget, spec),
            serve_one_owner=section.serve_one_owner,
        )
        if cohort.public_owners > cohort.rivals_count:
            raise ConfigError(
                f"public_owners: {cohort.public_owners} are more than its "
                f"{cohort.rivals_count} rivals"
            )
        if cohort.enrolment_check != "off" and cohort.mean_tensor is None:
            raise ConfigError("enrolment_check: needs a subspace preset; other models have no mean")
        return cohort
    except (CheckpointError, ConfigError) as error:
        raise ConfigError(f"cohort {section.name}: {error}") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"cohort {section.name}: cannot read {section.graph or section.spec_file}"
        ) from None


def _of_model(section: CohortSection) -> Cohort:
    """A cohort of one model that is no RAN. Raises ConfigError, CheckpointError, OSError."""
    if section.graph is None:  # the section has checked it
        raise ConfigError('kind = "model" needs graph')
    spec = ModelSpec.from_json(regular_file.read(section.graph).decode())
    if spec.outputs.word != section.outputs:
        raise ConfigError(
            f"outputs: {section.outputs} here, and its owner's graph says {spec.outputs.word}; "
            "agree on one, and export the graph again"
        )
    return Cohort(
        section.name,
        spec,
        margin=1.0,
        clients=section.clients,
        owners=section.owners,
        labels=safe.of_cohort(section.budget, spec),
    )


def _check_two_parties_can(spec: RanSpec) -> None:
    if any(isinstance(layer, Conv) for layer in spec.layers):
        if math.prod(spec.input_shape[1:]) > MOST_PIXELS:
            raise ConfigError(
                f"randomness = two-party has convolutions of at most {MOST_PIXELS} pixels; "
                "use smaller images, or a dealer"
            )
    elif math.prod(spec.input_shape) > MOST_INPUTS:
        raise ConfigError(
            f"randomness = two-party has layers of at most {MOST_INPUTS} inputs; use another "
            "preset, or a dealer"
        )


def _model_check(section: ModelCheckSection | None, spec: RanSpec) -> ModelCheck | None:
    if section is None:
        return None
    return ModelCheck(None if section.probes is None else probes.read(section.probes, spec))


def _spec(section: CohortSection) -> RanSpec:
    if section.spec_file is not None:
        return RanSpec.from_json(regular_file.read(section.spec_file).decode())
    # Height and width only matter to "auto", which a cohort cannot name.
    if (named := section.encoder) is not None:
        image = ImageShape(height=named.height, width=named.width, channels=section.channels)
        spec = behind_encoder(
            section.preset or "", named.features(), image, components=section.components
        )
        spec.shapes()
        return spec
    return preset(
        section.preset or "",
        channels=section.channels,
        size=section.size,
        unit_length=section.unit_length,
        components=section.components,
    )
