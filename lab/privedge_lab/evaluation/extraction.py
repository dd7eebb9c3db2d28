"""How many labels does a copy of a cohort's models take, and what does a budget leave of it?

The plaintext fixed-point rule stands for the service where the numbers are large: a private query
gives the same label (`privedge bench query` counts the exceptions: ties), at a thousandth of the
time. With `deployed`, the same attack asks real parties.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from parties.party.budgets.safe import safe
from privedge.arrays import Inputs
from privedge.client.query import Client
from privedge.errors import ImageError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.progress import Progress
from privedge.ran.images import fit
from privedge.ran.named_spec import spec_named
from privedge.ran.presets import VECTOR, preset
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge.user.upload import send
from privedge_lab.attacks.extraction import Ask, Public, Thief
from privedge_lab.datasets import Labelled
from privedge_lab.evaluation.cohort import features_of
from privedge_lab.evaluation.pixels import as_bytes
from privedge_lab.reference.model import PlainModel
from privedge_lab.results.rows.extraction import ExtractionRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "extraction"
PLAINTEXT, PARTIES = "plaintext", "parties"
NO_BUDGET, SAFE = "none", "safe"
_MONTH_DAYS = 30
_HELD_OUT = 0.3
_NORMAL_95 = 1.96
_CLIENT = Identity(Role.CLIENT, "thief")


@dataclass(frozen=True)
class ExtractionSettings:
    """`owners` models of the first classes; all other classes are the attacker's and strangers.

    times: numbers of labels, in safe budgets of 30 days. Of `fresh` questions half are the owners'
    own held-out examples, half strangers'. files: the encoder of pictures, if there is one; faces
    are cut out already.
    """

    preset: str
    components: int
    owners: int = 2
    margin: float = 0.8
    times: tuple[float, ...] = (1, 4, 16, 32)
    fresh: int = 400
    seed: int = 0
    files: PublicFiles = NO_FILES


@dataclass(frozen=True)
class _Case:
    """A cohort, and what its attacker has. examples, fresh: features float64 (n, D)."""

    spec: RanSpec
    rans: Sequence[Ran]
    examples: npt.NDArray[np.float64]
    fresh: npt.NDArray[np.float64]

    @property
    def month(self) -> int:
        """The safe number of labels of one client in 30 days."""
        return safe(self.spec).client_month


def measure(
    settings: ExtractionSettings,
    data: Labelled,
    results: Results,
    progress: Progress,
    *,
    deployed: bool = False,
) -> Iterator[ExtractionRow]:
    """A row for each number of labels that `results` does not have, with a budget and without.

    `deployed` needs a set of vectors. Raises ImageError for too few classes or examples.
    """
    case = _case(settings, data)
    if deployed and case.spec.name != VECTOR:
        raise ImageError("extraction: real parties are asked about vectors; give a set of vectors")
    service = PARTIES if deployed else PLAINTEXT
    with _served(case, settings) if deployed else _plain(case, settings) as services:
        for budget, ask in services.items():
            named = {"experiment": EXPERIMENT, "service": service, "budget": budget}
            named |= _named(settings, case)
            if any(results.find(named | {"times": each}) is None for each in settings.times):
                yield from _attack(case, ask, settings, named, results, progress)


def _named(settings: ExtractionSettings, case: _Case) -> Raw:
    return {
        "preset": case.spec.name,
        "values": math.prod(case.spec.input_shape),
        "components": settings.components,
        "owners": settings.owners,
        "margin": settings.margin,
        "seed": settings.seed,
        "fresh": len(case.fresh),
    }


def _attack(
    case: _Case,
    ask: Ask,
    settings: ExtractionSettings,
    named: Raw,
    results: Results,
    progress: Progress,
) -> Iterator[ExtractionRow]:
    """One attacker asks on and on, and makes a copy each time it has enough for the next row."""
    public = Public(
        tuple(ran.owner for ran in case.rans),
        settings.margin,
        settings.components,
        _unit_length(case.spec),
    )
    truth = PlainModel(case.rans, settings.margin).owners(_shaped(case.spec, case.fresh))
    thief = Thief(ask, public, case.examples, settings.seed)
    for done, times in enumerate(settings.times):
        progress(f"copy of {settings.components} components", done, len(settings.times))
        thief.gather(round(times * case.month))
        if results.find(named | {"times": times}) is not None:
            continue
        said = thief.copy().answers(case.fresh)
        agreement = float(
            np.mean([mine == theirs for mine, theirs in zip(said, truth, strict=True)])
        )
        row = ExtractionRow(
            **named,
            times=times,
            labels=thief.labels,
            agreement=agreement,
            plus_minus=_NORMAL_95 * math.sqrt(agreement * (1 - agreement) / len(truth)),
            budget_days=_MONTH_DAYS * thief.labels / case.month,
        )
        results.add(row.to_json())
        yield row
        if thief.stopped:
            return


@contextmanager
def _plain(case: _Case, settings: ExtractionSettings) -> Iterator[dict[str, Ask]]:
    model = PlainModel(case.rans, settings.margin)
    yield {NO_BUDGET: lambda asked: model.owners(_shaped(case.spec, asked))}


@contextmanager
def _served(case: _Case, settings: ExtractionSettings) -> Iterator[dict[str, Ask]]:
    """Real parties on this machine: one cohort without a budget, one with the safe one."""
    cohorts = [
        CohortSetting(
            budget,
            VECTOR,
            margin=settings.margin,
            components=settings.components,
            size=math.prod(case.spec.input_shape),
            unit_length=_unit_length(case.spec),
            budget={} if budget == SAFE else None,
        )
        for budget in (NO_BUDGET, SAFE)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        Deployment(Path(folder), cohorts) as parties,
        Client(parties.client_config(_CLIENT)) as client,
    ):
        for cohort in cohorts:
            for ran in case.rans:
                send(ran, cohort.name, parties.client_config(Identity(Role.OWNER, ran.owner)))
        yield {cohort.name: _asking(client, cohort.name) for cohort in cohorts}


def _asking(client: Client, cohort: str) -> Ask:
    return lambda asked: [answer.owner for answer in client.identify(asked, cohort).answers]


def _case(settings: ExtractionSettings, data: Labelled) -> _Case:
    spec = _spec(settings, data)
    if data.classes <= settings.owners:
        raise ImageError("extraction: some classes must be nobody's; use fewer owners")
    rng = np.random.default_rng(settings.seed)
    rans, fresh, others = [], [], []
    for label in range(data.classes):
        mine = rng.permutation(torch.nonzero(data.labels == label).flatten().numpy())
        held_out = round(_HELD_OUT * len(mine))
        if not 0 < held_out < len(mine):
            raise ImageError(f"class {label}: {len(mine)} examples are too few")
        if label < settings.owners:
            own = _inputs(spec, data.images[torch.from_numpy(mine[held_out:])])
            chosen = settings_for(spec, seed=settings.seed, files=settings.files)
            rans.append(fit_ran(own, spec, chosen, f"owner-{label}"))
        else:
            others.append(mine[held_out:])
        fresh.append(mine[:held_out])
    owned, strange = fresh[: settings.owners], fresh[settings.owners :]
    asked = [
        rng.permutation(np.concatenate(each))[: settings.fresh // 2] for each in (owned, strange)
    ]
    return _Case(
        spec,
        rans,
        *(
            _features(spec, data.images[torch.from_numpy(np.concatenate(each))], settings.files)
            for each in (others, asked)
        ),
    )


def _spec(settings: ExtractionSettings, data: Labelled) -> RanSpec:
    if data.of_vectors:
        size = data.images.shape[1]
        return preset(VECTOR, size=size, unit_length=True, components=settings.components)
    channels, height, width = data.images.shape[1:]
    return spec_named(
        settings.preset,
        height=height,
        width=width,
        channels=channels,
        components=settings.components,
        files=settings.files,
    )


def _inputs(spec: RanSpec, images: torch.Tensor) -> Inputs:
    return (
        images.double().numpy() if spec.image is None else fit(as_bytes(images), spec.image_shape)
    )


def _features(spec: RanSpec, images: torch.Tensor, files: PublicFiles) -> npt.NDArray[np.float64]:
    found = features_of(spec, _inputs(spec, images), files)
    return found.reshape(len(found), -1).astype(np.float64)


def _shaped(spec: RanSpec, asked: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return asked.astype(np.float32).reshape(-1, *spec.input_shape)


def _unit_length(spec: RanSpec) -> bool:
    return bool(getattr(spec.features, "unit_length", False))
