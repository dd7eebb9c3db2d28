"""One cohort in a party's file."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from parties.config.model_check import ModelCheckSection
from parties.config.telemetry import TelemetrySection
from privedge.config import Section
from privedge.errors import ConfigError
from privedge.identity.roles import COHORT_NAME
from privedge.ran.feature_kinds import Encoder, EncoderInput
from privedge.ran.presets import ENCODER_PRESETS

# A name in a certificate, or a shell pattern of such names.
_PATTERN = r"^[A-Za-z0-9._*?\[\]!-]{1,128}$"
Names = tuple[Annotated[str, StringConstraints(pattern=_PATTERN)], ...]

# A name in a certificate, so that with a dot and one letter it is still a name.
_REGISTRAR = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,61}$"
_Numbers = Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]


class EncoderSection(Section):
    """The public encoder of a cohort. It is named by its digest; no party needs the file."""

    sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$",
        description="The SHA-256 of the ONNX file, as `privedge encoder inspect` shows it.",
    )
    output: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        min_length=1, max_length=4, description="The shape of one picture's features: `[128]`."
    )
    height: int = Field(ge=8, le=1024, description="Of the pictures that it takes, in pixels.")
    width: int = Field(ge=8, le=1024, description="Of these pictures, in pixels.")
    order: Literal["rgb", "bgr"] = Field(default="rgb", description="Of the channels.")
    layout: Literal["nchw", "nhwc"] = Field(default="nchw", description="Of the axes.")
    scale: _Numbers = Field(
        default=EncoderInput().scale,
        description="It gets pixel * scale + offset, pixel from 0 to 255: one number, or one for "
        "each channel in `order`.",
    )
    offset: _Numbers = Field(default=EncoderInput().offset, description="See `scale`.")
    unit_length: bool = Field(
        default=False, description="Whether its output is divided by its length."
    )

    def features(self) -> Encoder:
        """Return the feature kind. Raises ConfigError."""
        try:
            wants = EncoderInput(
                order=self.order, layout=self.layout, scale=self.scale, offset=self.offset
            )
        except ValidationError as error:
            said = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ConfigError(f"encoder: {said}") from None
        return Encoder(
            sha256=self.sha256, output=self.output, input=wants, unit_length=self.unit_length
        )


_Labels = Annotated[int, Field(ge=0)] | Literal["safe"]


class LabelBudgetSection(Section):
    """How many answers clients get in one cohort over 30 days, so that a copy of its models takes
    too long. Each party counts for itself, durably, and every row of a query. With 0 there is no
    limit.
    """

    client_month: _Labels = Field(
        default="safe",
        description='Rows that one client may have answered within 30 days. `"safe"` is one for '
        "each parameter of a model, (components + 1) * values for subspaces; at most 500 behind an "
        "encoder and for vectors.",
    )
    client_hour: _Labels = Field(
        default="safe",
        description='Rows that one client may have answered within an hour. `"safe"` is 20 behind '
        "an encoder and for vectors, and no limit for others.",
    )
    all_month: _Labels = Field(
        default="safe",
        description='Rows of all clients together within 30 days. `"safe"` is 20 times the safe '
        "number of one.",
    )


# The keys of a cohort of a model that is no RAN.
_OF_MODELS = frozenset({"name", "kind", "graph", "outputs", "clients", "owners", "budget"})


class CohortSection(Section):
    """One cohort: its architecture, as a preset or a file, and its rule for "unknown"."""

    name: str = Field(
        pattern=f"^{COHORT_NAME}$",
        description="The cohort's name, the same at both parties.",
    )
    kind: Literal["rans", "model"] = Field(
        default="rans",
        description="What answers: the RANs of any number of owners, or one owner's `model` "
        "(docs/how-to/serve-models.md).",
    )
    graph: Path | None = Field(
        default=None,
        description='For `kind = "model"`: the graph, a file from `privedge model export`; the '
        "same at both parties.",
    )
    outputs: str | None = Field(
        default=None,
        pattern=r"^(label|scores|rounded:([0-9]|1[0-2]))$",
        description='For `kind = "model"`: what clients get, as the graph\'s owner wants it too: '
        '`"label"`, `"scores"`, or scores rounded to so many bits behind the point, '
        '`"rounded:4"`.',
    )
    registrars: tuple[Annotated[str, StringConstraints(pattern=_REGISTRAR)], ...] = Field(
        default=(),
        description="Owners who may upload, activate and delete models for other owners, whose "
        "names begin with theirs and a dot: `clinic` for `clinic.0017`. Both parties must list "
        "them. A registrar decides alone who these owners are.",
    )
    preset: str | None = Field(
        default=None,
        description="The architecture, by the name of a preset. Give either this or `spec_file`.",
    )
    channels: Literal[1, 3] = Field(
        default=1, description="For `preset`: 1 for grey images, 3 for colour."
    )
    size: int | None = Field(
        default=None,
        ge=2,
        le=1 << 16,
        description='For `preset = "vector"`: how many values a vector has.',
    )
    unit_length: bool = Field(
        default=False,
        description='For `preset = "vector"`: whether owners and clients divide every vector by '
        "its length.",
    )
    components: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="For subspace presets: the number of components, in place of the preset's.",
    )
    spec_file: Path | None = Field(
        default=None, description="The architecture as a file: the JSON of a RanSpec."
    )
    encoder: EncoderSection | None = Field(
        default=None,
        description="For `preset`: the public encoder whose output the models reconstruct.",
    )
    margin: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="An image is known if best < margin * ((1 - mean_share) * second best + "
        "mean_share * mean of all owners). These are the errors of the owners' models. With a "
        "margin of 1, somebody is always named.",
    )
    mean_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="The weight of the mean error over all owners in that rule. Above 0, and with "
        "a margin below 1, a query needs one more round. For old cohorts: one owner with a model "
        "that fits nothing lifts the mean, and makes strangers known.",
    )
    rivals: Path | None = Field(
        default=None,
        description="Public rivals, a file from `privedge rivals make`; the same at both parties. "
        "An image is known only if best < margin * error of every rival as well. So a cohort of "
        'one owner can answer "unknown". Not together with `mean_share`.',
    )
    public_owners: int = Field(
        default=0,
        ge=0,
        le=8,
        description="So many of the rivals, the first in the file, can be an answer, which clients "
        'read as "unknown". Clients that mix canaries into their questions need some, 2 to 4 '
        "(docs/how-to/canaries.md); the same at both parties.",
    )

    serve_one_owner: bool = Field(
        default=False,
        description="Whether queries are answered while one owner alone has an active model. "
        "Without an encoder such a cohort names that owner for most strangers, with public rivals "
        "too, so its queries are refused until another owner's model is active. It does not matter "
        "for vectors, and behind an encoder.",
    )

    clients: Names | None = Field(
        default=None,
        description="Names of the clients that may ask in this cohort, as in their certificates, "
        'or shell patterns such as `"clinic-*"`. For others there is no such cohort. Without the '
        "key, every client may ask; with an empty list, nobody. A client must be on the lists of "
        "both parties.",
    )
    owners: Names | None = Field(
        default=None,
        description="The same for the owners that may upload to this cohort. It is looked at in "
        "uploads and activations: models that are active stay so until they are deleted.",
    )
    telemetry: TelemetrySection | None = Field(
        default=None,
        description="Histograms of best scores, which both parties count on shares and open as "
        "sums with noise: docs/how-to/telemetry.md. Without the table nothing is counted.",
    )
    budget: LabelBudgetSection | None = Field(
        default=None,
        description="Without the table only `[budgets]` holds (docs/how-to/budgets-and-audit.md).",
    )

    enrolment_check: Literal["off", "owner", "operator"] = Field(
        default="off",
        description="Whether each new model is compared, on shares, with those of other owners, "
        "and who learns the one bit that comes of it: whether one of them takes its mean for its "
        "own. `owner`: only the owner. `operator`: both operators, in the audit log and in "
        "`models list`. It needs a subspace preset, and a margin below 1 "
        "(docs/how-to/enrolment.md).",
    )
    enrolment_on_match: Literal["report", "refuse"] = Field(
        default="report",
        description="What follows if one does. `refuse`: the model is not activated, and so the "
        'owner learns it too; needs `enrolment_check = "operator"`.',
    )

    enrolment_margin: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="The margin of this check, in place of `margin`. Means of the same person are "
        "much closer than single images, so it may be lower.",
    )

    model_check: ModelCheckSection | None = None

    @model_validator(mode="after")
    def _check_can_tell(self) -> Self:
        if self.enrolment_on_match == "refuse" and self.enrolment_check != "operator":
            raise ValueError(
                'enrolment_on_match: who refuses must know; set enrolment_check = "operator"'
            )
        if self.enrolment_check != "off" and (self.enrolment_margin or self.margin) == 1:
            raise ValueError(
                "enrolment_check: with a margin of 1 everybody is known; set enrolment_margin"
            )
        return self

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.kind != "model":
            if self.graph is not None or self.outputs is not None:
                raise ValueError('graph and outputs go with kind = "model"')
            return self
        if self.graph is None or self.outputs is None:
            raise ValueError('kind = "model" needs graph and outputs')
        if given := sorted(self.model_fields_set - _OF_MODELS):
            raise ValueError(f'{given[0]}: is for RANs, and goes not with kind = "model"')
        if self.owners is None or len(self.owners) != 1 or set("*?[]") & set(self.owners[0]):
            raise ValueError('kind = "model" needs owners with one name: ["clinic"]')
        return self

    @model_validator(mode="after")
    def _one_architecture(self) -> Self:
        if self.kind == "model":
            return self
        if (self.preset is None) == (self.spec_file is None):
            raise ValueError("give either preset or spec_file")
        if self.preset == "auto":
            raise ValueError("preset: a cohort has one architecture; name it instead of auto")
        if self.spec_file is not None and self.components is not None:
            raise ValueError("components goes with preset, not with spec_file")
        if self.spec_file is not None and self.encoder is not None:
            raise ValueError("encoder goes with preset; a spec_file names its own")
        if self.preset in ENCODER_PRESETS and self.encoder is None:
            raise ValueError(f"preset {self.preset} needs a table [cohorts.encoder]")
        return self

    @model_validator(mode="after")
    def _size_of_vectors(self) -> Self:
        if self.preset != "vector" and (self.size is not None or self.unit_length):
            raise ValueError('size and unit_length go with preset = "vector"')
        if self.preset == "vector" and self.size is None:
            raise ValueError('preset = "vector" needs size, the number of values in a vector')
        return self

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.rivals is not None and self.mean_share:
            raise ValueError("rivals: not together with mean_share; set mean_share = 0")
        if self.public_owners and self.rivals is None:
            raise ValueError("public_owners: are the first of the rivals; name a file of these")
        return self
