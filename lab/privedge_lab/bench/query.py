"""Measure a private query: seconds, rounds, bytes by phase, CPU seconds, and correctness.

    1.  make N models and Q + 3 batches of images, and answer them in the clear
    2.  start every engine with the same models
    3.  ask in turn: one cold query, two to warm up, then Q that count
    4.  compare every answer with the plaintext fixed-point model's

Engines are asked in turn (A, B, C, A, B, C, ...), so that a slow moment of the machine affects all
of them equally and their ratios hold. Sees everything in the clear; all of it is synthetic
(made.py).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from privedge import arrays
from privedge.arrays import Inputs
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.user.checkpoint import Ran
from privedge_lab.bench import deployed, made, rows, system
from privedge_lab.bench.rows import Asked, Sample
from privedge_lab.bench.stock import side as stock
from privedge_lab.reference.model import PlainAnswer, PlainModel
from privedge_lab.results.rows.bench import QueryRow

_SEED = 1


@dataclass(frozen=True)
class Workload:
    """What each engine is asked: `queries` batches of `batch` images against `owners` models."""

    engines: tuple[str, ...]
    preset: system.Wanted
    owners: int
    batch: int
    queries: int
    setting: system.Setting
    files: PublicFiles = NO_FILES
    randomness: tuple[str, ...] = system.RANDOMNESS[:1]

    @property
    def ways(self) -> list[tuple[str, str]]:
        """Engines, each with every source of randomness that it can have."""
        first = self.randomness[:1]
        return [
            (engine, source)
            for engine in self.engines
            for source in (self.randomness if engine == rows.REFERENCE else first)
        ]


class _Engine(Protocol):
    """One running engine with the models in it."""

    def ask(self, number: int) -> Sample:
        """Ask query `number`."""


def check(load: Workload) -> None:
    """Raise ConfigError for what cannot be measured, before anything starts."""
    spec = system.spec_of(load.preset, load.files)
    for source in load.randomness:
        replace(load.setting, randomness=source)
    for engine, source in load.ways:
        if engine != rows.REFERENCE and source != system.RANDOMNESS[0]:
            raise ConfigError(f"engine {engine}: needs --randomness dealer first")
        if engine in stock.ENGINES:
            stock.check(engine, spec)
            if load.files.encoder is not None:
                raise ConfigError(f"engine {engine}: takes no encoder; leave out --encoder")
            if load.setting.rtt_ms:
                raise ConfigError(f"engine {engine}: gloo connects by itself; leave out --rtt-ms")
        else:
            system.check_engine(engine, also=stock.ENGINES)


def measure(load: Workload, progress: Progress) -> list[QueryRow]:
    """Measure one row per engine. Raises ConfigError, or the error of a party's refusal."""
    check(load)
    spec = system.spec_of(load.preset, load.files)
    models = made.models(spec, load.owners, _SEED, load.files)
    count = rows.COLD + rows.WARM_UP + load.queries
    images = made.images(spec, count * load.batch, _SEED)
    batches = [images[start : start + load.batch] for start in range(0, len(images), load.batch)]
    expected = _expected(models, batches, load.files, progress)
    with ExitStack() as stack:
        engines = [
            stack.enter_context(_running(*way, load, models, batches, progress))
            for way in load.ways
        ]
        samples = _ask_in_turn(engines, count, progress)
    return rows.with_ratios(
        [
            rows.row(_asked(*way, load), mine, expected)
            for way, mine in zip(load.ways, samples, strict=True)
        ]
    )


def _expected(
    models: Sequence[Ran], batches: Sequence[Inputs], files: PublicFiles, progress: Progress
) -> list[list[PlainAnswer]]:
    """Return the right answer for each image.

    All batches are computed at once, because each access to a model may make it anew.
    """
    given = features.extract(models[0].spec, arrays.joined(batches), encoder=files.encoder)
    answers = PlainModel(models, system.MARGIN).answers(given, progress)
    size = len(batches[0])
    return [answers[start : start + size] for start in range(0, len(answers), size)]


def _running(
    engine: str,
    source: str,
    load: Workload,
    models: Sequence[Ran],
    batches: Sequence[Inputs],
    progress: Progress,
) -> AbstractContextManager[_Engine]:
    if engine in stock.ENGINES:
        return stock.running(engine, models, batches, system.TIMEOUT_S)
    setting = replace(load.setting, randomness=source)
    return deployed.running(engine, setting, models, batches, progress, files=load.files)


def _ask_in_turn(engines: Sequence[_Engine], count: int, progress: Progress) -> list[list[Sample]]:
    """Return every engine's samples."""
    samples: list[list[Sample]] = [[] for _ in engines]
    for number in range(count):
        for engine, mine in zip(engines, samples, strict=True):
            mine.append(engine.ask(number))
        progress("query", number + 1, count)
    return samples


def _asked(engine: str, source: str, load: Workload) -> Asked:
    ours = engine not in stock.ENGINES
    return Asked(
        engine=engine,
        randomness=source if ours else None,
        preset=system.name_of(load.preset),
        owners=load.owners,
        batch=load.batch,
        queries=load.queries,
        pool=load.setting.pool if ours else None,
        rtt_ms=load.setting.rtt_ms,
    )
