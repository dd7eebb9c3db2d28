"""How well owners are told apart, and what a private query costs, against the number of owners.

    1. deal the whole set out, and put its owners in an order drawn by the seed
    2. train every owner's model once
    3. for each number N: the first N owners, asked about their own images only
    4. the same models in a real deployment that grows, asked one image at a time (bench/)

The owners of a smaller cohort are also in every larger one, with the same models and images, so
that what changes is the number alone. One row a seed and number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from privedge.client.query import Client
from privedge.errors import ConfigError
from privedge.local.deployment import Deployment
from privedge.progress import Progress
from privedge_lab import datasets
from privedge_lab.bench import deployed, rows, system
from privedge_lab.evaluation import identify_engines, identify_figures
from privedge_lab.evaluation.cohort import (
    Cohort,
    Task,
    asked,
    known,
    settings_of,
    spec_of,
    train_models,
)
from privedge_lab.evaluation.identify_parts import Parts, deal
from privedge_lab.reference.model import PlainModel
from privedge_lab.results.rows.bench import QueryRow
from privedge_lab.results.rows.scale import PrivateCost, ScaleRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "scale"
_LEAST = 2
# Asked first and not counted: a cold query, and two for the dealer to learn what is asked.
_UNCOUNTED = rows.COLD + rows.WARM_UP


@dataclass(frozen=True)
class Request(Task):
    """A task, and how many owners.

    sizes     numbers of owners; None among them is all
    private   measure what a private query costs, too
    queries   images that each deployment is asked and that count
    """

    sizes: tuple[int | None, ...] = (None,)
    private: bool = True
    queries: int = 20

    def settings(self) -> Raw:
        """As a Task's; the sizes are not part of it, so that further ones can be added."""
        found = super().settings()
        del found["sizes"]
        return found


def measure(
    request: Request,
    data: datasets.Labelled,
    seeds: Sequence[int],
    results: Results,
    progress: Progress,
) -> Iterator[ScaleRow]:
    """A row for each of `seeds` and sizes; those that `results` has are not measured again.

    Raises ConfigError or ImageError for a set that cannot be dealt out like this, TrainingError for
    an owner with too few images, and whatever a party refuses.
    """
    sizes = _sizes(request, data)
    for seed in seeds:
        there = {size: results.row(ScaleRow, _named(seed, size)) for size in sizes}
        missing = [size for size, row in there.items() if row is None]
        if not missing:
            yield from (row for row in there.values() if row is not None)
            continue
        largest = _largest(request, data, seed, max(missing), progress)
        with _servers(request, largest, progress) as ask:
            for size, row in there.items():
                if row is None:
                    row = _figures(first(largest, size), seed, ask)
                    results.add(row.to_json())
                yield row


def ordered(parts: Parts, seed: int) -> Parts:
    """The same owners in an order drawn by `seed`; what is asked stays as it is."""
    order = np.random.default_rng([seed, 3]).permutation(len(parts.owners))
    return replace(
        parts,
        owners=tuple(parts.owners[number] for number in order),
        train=tuple(parts.train[number] for number in order),
        train_facts=tuple(parts.train_facts[number] for number in order),
        labels=np.argsort(order)[parts.labels],
    )


def first(cohort: Cohort, size: int) -> Cohort:
    """The first `size` owners, asked about their own images only."""
    mine = cohort.parts.labels < size
    return Cohort(
        cohort.rans[:size],
        _of_first(cohort.parts, size),
        cohort.features[mine],
        cohort.errors[mine][:, :size],
    )


def _of_first(parts: Parts, size: int) -> Parts:
    mine = parts.labels < size
    return Parts(
        parts.owners[:size],
        parts.train[:size],
        parts.images[mine],
        parts.labels[mine],
        parts.pages[mine],
        parts.train_facts[:size],
        {name: values[mine] for name, values in parts.facts.items()},
    )


def _sizes(request: Request, data: datasets.Labelled) -> list[int]:
    classes = len(data.labels.unique())
    sizes = sorted({classes if size is None else size for size in request.sizes})
    if sizes[0] < _LEAST or sizes[-1] > classes:
        raise ConfigError(f"owners: the set has {classes} classes; give numbers from {_LEAST} on")
    return sizes


def _named(seed: int, size: int) -> Raw:
    return {"seed": seed, "owners": size}


def _largest(
    request: Request, data: datasets.Labelled, seed: int, size: int, progress: Progress
) -> Cohort:
    # All classes are dealt out, whatever is measured: a class is split alike in every run.
    parts = deal(data, replace(request.choice, seed=seed))
    spec = spec_of(request, parts)
    parts = _of_first(ordered(parts, seed), size)
    rans = train_models(parts, spec, settings_of(request, spec, seed), progress)
    return asked(rans, parts, request.files)


def _figures(cohort: Cohort, seed: int, ask: "_Ask") -> ScaleRow:
    parts = cohort.parts
    size = len(parts.owners)
    found = identify_figures.figures(parts.labels, cohort.errors.argmin(axis=1), parts.owners)
    return ScaleRow(
        **_named(seed, size),
        preset=cohort.rans[0].spec.name,
        asked=len(parts.images),
        macro_recall=found.macro_recall,
        accuracy=found.accuracy,
        auroc_known=known(cohort, seed).auroc_known,
        chance=1 / size,
        private=ask(cohort),
    )


# --- What it costs privately ----------------------------------------------------------------------

_Ask = Callable[[Cohort], PrivateCost | None]


@contextmanager
def _servers(request: Request, largest: Cohort, progress: Progress) -> Iterator[_Ask]:
    """Called with ever larger cohorts of the owners of `largest`: what a query of each costs."""
    if not request.private:
        yield lambda _: None
        return
    with system.running(largest.rans[0].spec) as deployment:
        uploaded = 0

        def ask(cohort: Cohort) -> PrivateCost:
            nonlocal uploaded
            models = identify_engines.closed(cohort.rans)
            system.fill(deployment, models[uploaded:], progress)
            uploaded = len(models)
            return _private(request, replace(cohort, rans=models), deployment, progress)

        yield ask


def _private(
    request: Request, cohort: Cohort, deployment: Deployment, progress: Progress
) -> PrivateCost:
    models, images = cohort.rans, cohort.parts.images[: request.queries + _UNCOUNTED]
    counted = len(images) - _UNCOUNTED
    if counted < 1:
        raise ConfigError(f"queries: of {len(images)} test images {_UNCOUNTED} do not count")
    batches = [image[None] for image in images]
    expected = PlainModel(models, system.MARGIN).answers(cohort.features[: len(images)])
    samples = []
    with Client(system.client_config(deployment, request.files)) as client:
        engine = deployed.Deployed(deployment, client, batches, deployed.Pools(deployment))
        for number in range(len(images)):
            samples.append(engine.ask(number))
            progress(f"ask {len(models)} owners", number + 1, len(images))
    what = rows.Asked(system.ENGINES[0], models[0].spec.name, len(models), 1, counted, "warm", 0.0)
    return _costs(rows.row(what, samples, [[each] for each in expected]), samples)


def _costs(found: QueryRow, samples: Sequence[rows.Sample]) -> PrivateCost:
    """Medians over the queries that count; CPU seconds are means, because they come in steps."""
    last = samples[-1]
    at_client = last.client.bytes if last.client is not None else 0
    return PrivateCost(
        queries=found.queries,
        seconds_per_query=found.median_s,
        online_s=found.online_s,
        offline_cpu_s=found.offline_cpu_s,
        cpu_s=found.cpu_s,
        bytes_per_query=at_client + sum(party.bytes_to_peer for party in last.parties),
        dealt_bytes=sum(party.bytes_from_dealer for party in last.parties),
        rounds=found.rounds,
        agreement=found.agreement,
        ties=found.ties,
    )
