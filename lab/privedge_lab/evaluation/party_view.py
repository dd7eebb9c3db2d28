"""What ONE MPC party learns of a private query: the attacks on split inference, on a party's view.

Whoever runs a party has images of its own, asks the service about them and so has as many pairs of
(its view, image, class) as it likes. It trains inversion and attribute attackers on them and turns
them on the views of other clients' queries. Against each stands what needs no view at all.

*Inversion.* `sigmas` is a paired test on squared errors: by how much the attack's error lies below
the mean image's on the same test images, in standard errors of that difference. No guess made
without the image has a smaller expected squared error than the mean image, so more than 5 sigmas is
a leak. (PSNR is no good for this: its logarithm prefers a guess a little darker than the mean.)
`sigmas_paired` compares with the same reconstructions held against the wrong images: independent of
what the mean image is, and 0 in expectation for a view that says nothing.

*Attribute.* `sigmas`: the strongest attacker's accuracy above the majority rate m, in standard
deviations sqrt(m (1 - m) / n) of guessing.

The rows of party "both" are the positive control: the two views added up, through the same
encodings and attackers, must be far above.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from parties.mpc.predict import Rule
from privedge.errors import ImageError
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.feature_kinds import Pixels
from privedge.ran.images import fit
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge_lab import encoded
from privedge_lab.attacks import party, scores
from privedge_lab.attacks.attributes import AttackerSettings, infer_attribute
from privedge_lab.attacks.both_parties import BothParties
from privedge_lab.attacks.inversion.black_box import BlackBoxSettings, black_box
from privedge_lab.attacks.inversion.linear import linear
from privedge_lab.attacks.views import AttributeView, BlackBoxView, PartyView
from privedge_lab.datasets import Labelled
from privedge_lab.evaluation.pixels import as_bytes
from privedge_lab.results.rows.party import PartyRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "party"
SIGMAS = 5.0
BOTH = "both"
ATTACKS = ("linear", "read", "paper", "residual", "attribute")

_STEPS = 30
_IMAGES_AN_OWNER = 200
_ATTACKERS = AttackerSettings(epochs=15, patience=2)
# Few images and epochs, so with bold steps: Adam's own eps instead of the paper's.
_BOLD = BlackBoxSettings(epochs=10, rate=3e-3, eps=1e-8, anneal=True)
_DECODERS = {
    "paper": _BOLD,
    "residual": replace(_BOLD, decoder="residual", epochs=6, blocks=1, channels=16),
}
# Networks learn from these; the linear attack from all. What is opened is the same for both parties
# and without an own mask, so it gets the linear attack only.
_FOR_NETWORKS = ("value", "top bits")
_LINEAR_ONLY = ("opening",)


@dataclass(frozen=True)
class PartySettings:
    """`known` queries to learn from, `queries` to attack, on a cohort of `owners` of `preset`.

    `attacks`: which of linear, read, paper, residual and attribute. `spec`: in place of the preset.
    `files`: the encoder that it needs, or that the preset gets. `randomness`: who makes it.
    """

    preset: str
    owners: int = 2
    known: int = 1000
    queries: int = 300
    seed: int = 0
    attacks: tuple[str, ...] = ATTACKS
    spec: RanSpec | None = None
    files: PublicFiles = NO_FILES
    randomness: str = "dealer"

    @property
    def name(self) -> str:
        """What rows call the architecture."""
        return self.spec.name if self.spec else self.preset


@dataclass(frozen=True)
class _Case:
    """One party's words, in one reading and one encoding, of known and of attacked queries."""

    known: Labelled
    tested: Labelled
    known_words: torch.Tensor = field(repr=False)
    words: torch.Tensor = field(repr=False)
    encoding: str

    def seen(self, words: torch.Tensor) -> torch.Tensor:
        return party.ENCODINGS[self.encoding](words)


def measure(
    settings: PartySettings, train: Labelled, test: Labelled, results: Results, progress: Progress
) -> Iterator[PartyRow]:
    """A row for each party, reading, encoding and attack that `results` does not have.

    `train` gives the owners' and the attacker's images, `test` the attacked ones. Raises ImageError
    for too few images.
    """
    spec = encoded.spec_for(settings.preset, settings.spec, train.images.shape, settings.files)
    known, tested = _at_size(train, settings.known, spec), _at_size(test, settings.queries, spec)
    views = _views(spec, train, known, tested, settings, progress)
    cases = list(_cases(known, tested, views))
    for done, (where, case) in enumerate(cases):
        progress(f"attack {settings.name}", done, len(cases))
        possible = _attacks(spec, where["reading"], case)
        for attack in (name for name in settings.attacks if name in possible):
            named: Raw = {
                "attack": attack,
                "preset": settings.name,
                **where,
                "seed": settings.seed,
            }
            if settings.randomness != "dealer":  # left out otherwise: as in files before it
                named["randomness"] = settings.randomness
            if results.find(named) is None:
                row = PartyRow(**named, **possible[attack](case, settings.seed))
                results.add(row.to_json())
                yield row


def _at_size(data: Labelled, count: int, spec: RanSpec) -> Labelled:
    """The first `count` images at the preset's size."""
    if len(data) < count:
        raise ImageError(f"there are {len(data)} images for {count} queries: ask for fewer")
    shaped = fit(as_bytes(data.images[:count]), spec.image_shape)
    channelled = shaped[:, None] if shaped.ndim == 3 else shaped.transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(np.ascontiguousarray(channelled)).float() / 255
    return Labelled(pixels, data.labels[:count])


def _views(
    spec: RanSpec,
    train: Labelled,
    known: Labelled,
    tested: Labelled,
    settings: PartySettings,
    progress: Progress,
) -> list[tuple[PartyView, PartyView]]:
    """Of parties 0 and 1: the view of the known queries, and that of the attacked ones."""
    models = _models(spec, train, settings, progress)
    rule = Rule(margin=1.0)
    service = BothParties(spec, models, rule, keep=1024, randomness=settings.randomness)
    views: list[tuple[PartyView, PartyView]] = []
    for data in (known, tested):
        found = features.extract(spec, as_bytes(data.images), encoder=settings.files.encoder)
        given = encode(found)
        progress(f"ask {spec.name}", 0, 2)
        views.append(service.ask(given).views)
    return [(views[0][index], views[1][index]) for index in (0, 1)]


def _models(
    spec: RanSpec, train: Labelled, settings: PartySettings, progress: Progress
) -> dict[str, npt.NDArray[np.uint64]]:
    """A small cohort of real models: how well they are trained does not matter here."""
    rans = []
    for owner in range(settings.owners):
        progress(f"train {spec.name}", owner, settings.owners)
        mine = train.images[train.labels == owner][:_IMAGES_AN_OWNER]
        steps = min(settings_for(spec).steps, _STEPS)
        quick = settings_for(spec, seed=settings.seed, steps=steps, files=settings.files)
        rans.append(fit_ran(fit(as_bytes(mine), spec.image_shape), spec, quick, f"owner-{owner}"))
    return {
        name: encode(np.stack([ran.parameters[name] for ran in rans])) for name in spec.parameters()
    }


def _cases(
    known: Labelled, tested: Labelled, views: list[tuple[PartyView, PartyView]]
) -> Iterator[tuple[dict[str, str], _Case]]:
    for index, (before, attacked) in enumerate(views):
        for reading, read in party.READINGS.items():
            for encoding in party.ENCODINGS:
                where = {"party": str(index), "reading": reading, "encoding": encoding}
                yield where, _Case(known, tested, read(before), read(attacked), encoding)
    (first_known, first), (second_known, second) = views
    together = party.reunited((first_known, second_known)), party.reunited((first, second))
    for encoding in ("value", "low bits"):
        where = {"party": BOTH, "reading": "both shares added", "encoding": encoding}
        yield where, _Case(known, tested, *together, encoding)


# The figures of a row.
_Attack = Callable[[_Case, int], Raw]


def _attacks(spec: RanSpec, reading: str, case: _Case) -> dict[str, _Attack]:
    spatial = reading != "everything" and case.words.dim() == 4
    found: dict[str, _Attack] = {"linear": _linear}
    if spatial and isinstance(spec.features, Pixels) and case.encoding == "value":
        found["read"] = _read
    if case.encoding in _FOR_NETWORKS and reading not in _LINEAR_ONLY:
        found["attribute"] = _attribute
        if spatial:
            found |= {name: _decoded(settings) for name, settings in _DECODERS.items()}
    return found


def _linear(case: _Case, _: int) -> Raw:
    return _scored(linear(_black_box_view(case)), case)


def _read(case: _Case, _: int) -> Raw:
    return _scored(party.as_image(case.words), case)


def _decoded(settings: BlackBoxSettings) -> _Attack:
    def attack(case: _Case, seed: int) -> Raw:
        generator = torch.Generator().manual_seed(seed)
        return _scored(black_box(_black_box_view(case), settings, generator=generator), case)

    return attack


def _attribute(case: _Case, _: int) -> Raw:
    view = AttributeView(case.seen(case.words), case.seen(case.known_words), case.known.labels)
    found = infer_attribute(view, case.tested.labels, _ATTACKERS)
    spread = math.sqrt(found.majority * (1 - found.majority) / len(case.tested))
    return {
        "queries": len(case.tested),
        "accuracy": found.strongest.test.value,
        "plus_minus": found.strongest.test.plus_minus,
        "bound": found.bound.test.value,
        "majority": found.majority,
        "architecture": found.strongest.architecture,
        "sigmas": found.above_majority / spread,
    }


def _black_box_view(case: _Case) -> BlackBoxView:
    """Its `ask` gives what was recorded when the known images were asked about."""
    seen = _standard(case.seen(case.known_words), case.seen(case.known_words))
    rows = {image.numpy().tobytes(): row for row, image in enumerate(case.known.images)}
    return BlackBoxView(
        sent=_standard(case.seen(case.words), case.seen(case.known_words)),
        ask=lambda images: seen[[rows[image.numpy().tobytes()] for image in images]],
        known=case.known,
    )


def _standard(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """To mean 0 and standard deviation 1 over all known values: words reach 2^63."""
    return (values - known.mean()) / known.std()


def _scored(found: torch.Tensor, case: _Case) -> Raw:
    images = case.tested.images
    mean_image = case.known.images.mean(0, keepdim=True).expand_as(images)
    decibels = scores.psnr_db(found, images)
    wrong = scores.psnr_db(found, images.roll(1, 0))
    gained = _errors(mean_image, images) - _errors(found, images)
    return {
        "queries": len(images),
        "psnr_db": scores.mean(decibels).value,
        "plus_minus": scores.mean(decibels).plus_minus,
        "mean_image_psnr_db": scores.mean(scores.psnr_db(mean_image, images)).value,
        "sigmas": sigmas(gained),
        "sigmas_paired": sigmas(decibels - wrong),
    }


def _errors(found: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return (found.clamp(0, 1) - images).square().flatten(1).mean(1)


def sigmas(gains: torch.Tensor) -> float:
    """The mean of gains (n,) in its standard errors; 0 if all are alike."""
    spread = float(gains.double().std()) / math.sqrt(len(gains))
    return float(gains.double().mean()) / spread if spread > 0 else 0.0
