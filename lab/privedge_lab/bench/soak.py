"""Ask a deployment very many questions, and watch what its servers keep of them.

Every client has a certificate and a question of its own, and all answers are known beforehand and
differ: an answer that reaches another client is seen as a wrong one. Memory, descriptors and
threads are those of the three servers and their workers together, measured under load.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import psutil  # type: ignore[import-untyped]  # no stubs among our tools

from privedge.arrays import Inputs
from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.errors import ConfigError, PrivEdgeError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import SERVERS, Deployment
from privedge.progress import Progress
from privedge.ran import features
from privedge.user.checkpoint import Ran
from privedge_lab.bench import made, system
from privedge_lab.reference.model import PlainModel

_PRESET, _OWNERS, _SEED, _IMAGES = "subspace32", 10, 1, 200
_TIMEOUT_S = 120.0
_PAUSE_S = 0.5
# The servers fill their pools and caches and start their threads during this part of the queries.
_WARM_UP = 0.2
_MB = 1e6


@dataclass(frozen=True)
class Question:
    """Images uint8 (n, H, W), and the name of the owner of each."""

    images: Inputs = field(repr=False)
    owners: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """What the servers have after so many answers: memory in MB, open descriptors, threads."""

    answered: int
    rss_mb: float
    fds: int
    threads: int


@dataclass
class Tally:
    """How many queries ended, and how. Shared by all clients."""

    asked: int = 0
    wrong: int = 0
    failed: int = 0
    ended: int = 0
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


def soak(queries: int, clients: int, progress: Progress) -> Mapping[str, float]:
    """Ask `queries` questions, `clients` at a time. Returns the figures of `privedge bench soak`.

    rss_mb_per_1000 is the slope of a line through the samples after the warm-up; fds_growth and
    threads_growth compare the first and the last fifth of these samples. Raises ConfigError if
    there are more clients than different questions.
    """
    spec = system.spec_of(_PRESET)
    models = made.models(spec, _OWNERS, _SEED)
    asked = questions(models, made.images(spec, _IMAGES, _SEED), clients)
    with system.running(spec) as deployment:
        system.fill(deployment, models, progress)
        configs = [_config(deployment, number) for number in range(clients)]
        tally, samples = Tally(), []
        with ThreadPoolExecutor(clients) as threads:
            ends = [
                threads.submit(_ask, config, question, queries, tally)
                for config, question in zip(configs, asked, strict=True)
            ]
            try:
                while not all(end.done() for end in ends):
                    samples.append(sample(deployment, tally.ended))
                    progress("soak", tally.ended, queries)
                    time.sleep(_PAUSE_S)
            finally:
                tally.over = True
            for end in ends:
                end.result()
    return {
        "queries": tally.ended,
        "wrong": tally.wrong,
        "failed": tally.failed,
        **growth(samples, queries),
    }


def questions(models: Sequence[Ran], images: Inputs, count: int) -> list[Question]:
    """Make `count` questions whose answers are all different, of as few images as that takes."""
    answers = PlainModel(models, system.MARGIN).answers(features.extract(models[0].spec, images))
    known = {
        answer.owner: number
        for number, answer in enumerate(answers)
        if answer.owner is not None and not answer.tie
    }
    owners = sorted(known)
    if len(owners) < 2:
        raise ConfigError("the made-up images are all of one owner; nothing can be told apart")
    width = 1
    while len(owners) ** width < count:
        width += 1
    found = []
    for number in range(count):
        digits = [number // len(owners) ** place % len(owners) for place in range(width)]
        named = tuple(owners[digit] for digit in digits)
        found.append(Question(images[[known[name] for name in named]], named))
    return found


def sample(deployment: Deployment, answered: int) -> Sample:
    """Measure all processes of a running deployment."""
    rss, fds, threads = 0, 0, 0
    for server in SERVERS:
        parent = psutil.Process(deployment.processes[server].pid)
        for process in (parent, *parent.children(recursive=True)):
            rss += process.memory_info().rss
            fds += process.num_fds()
            threads += process.num_threads()
    return Sample(answered, rss / _MB, fds, threads)


def growth(samples: Sequence[Sample], queries: int) -> Mapping[str, float]:
    """Return how memory, descriptors and threads grow after the warm-up. Zeros if it never ends."""
    warm = [each for each in samples if each.answered >= _WARM_UP * queries]
    if len({each.answered for each in warm}) < 2:
        return {"rss_mb_per_1000": 0.0, "fds_growth": 0, "threads_growth": 0}
    thousands = [each.answered / 1000 for each in warm]
    slope = float(np.polyfit(thousands, [each.rss_mb for each in warm], 1)[0])
    part = max(1, len(warm) // 5)
    grown = {
        name: int(np.median([getattr(each, name) for each in warm[-part:]]))
        - int(np.median([getattr(each, name) for each in warm[:part]]))
        for name in ("fds", "threads")
    }
    return {
        "rss_mb_per_1000": round(slope, 3),
        "fds_growth": grown["fds"],
        "threads_growth": grown["threads"],
    }


def _config(deployment: Deployment, number: int) -> ClientConfig:
    client = Identity(Role.CLIENT, f"client-{number}")
    return deployment.client_config(client, rpc_timeout_s=_TIMEOUT_S)


def _ask(config: ClientConfig, question: Question, queries: int, tally: Tally) -> None:
    """Ask one question until all clients together have asked often enough."""
    with Client(config) as client:
        while True:
            with tally.lock:
                if tally.over or tally.asked == queries:
                    return
                tally.asked += 1
            right, failed = False, False
            try:
                reply = client.identify(question.images, system.COHORT)
                right = tuple(answer.owner for answer in reply.answers) == question.owners
            except PrivEdgeError:
                failed = True
            with tally.lock:
                tally.ended += 1
                tally.failed += failed
                tally.wrong += not right and not failed
