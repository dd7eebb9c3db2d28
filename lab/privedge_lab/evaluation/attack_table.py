"""The inversion attacks of He et al. 2019 on LeNet, with and without defences, as one table.

Jobs are independent of each other and run in processes of one torch thread each. A process trains
what networks its jobs need, from the table's seed, so no weights cross between processes.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch

from privedge import child_processes
from privedge.errors import ConfigError
from privedge.progress import Progress
from privedge_lab import datasets
from privedge_lab.attacks.inversion.black_box import black_box
from privedge_lab.attacks.inversion.query_free import query_free
from privedge_lab.attacks.inversion.white_box import white_box
from privedge_lab.attacks.scores import mean, psnr_db, ssim
from privedge_lab.attacks.views import BlackBoxView, QueryFreeView, WhiteBoxView
from privedge_lab.baseline.defence import Defence, Device
from privedge_lab.baseline.defences.registry import make
from privedge_lab.baseline.draws import KEY_BYTES
from privedge_lab.baseline.network import head, tail
from privedge_lab.baseline.presets import lenet
from privedge_lab.baseline.train import Trainee, accuracy, train
from privedge_lab.evaluation import attack_plan as plan
from privedge_lab.evaluation.attack_plan import Job, TableSettings
from privedge_lab.evaluation.sheets import Pixmap, strip
from privedge_lab.results.rows.inversion import InversionRow
from privedge_lab.results.rows.values import Raw
from privedge_lab.results.store import Results

EXPERIMENT = "attack table"
# Of each attack's images, so many are shown on contact sheets.
_SHOWN = 10
_MODULE = "privedge_lab.evaluation.attack_table"


@dataclass(frozen=True)
class Found:
    """A row of the table and the first reconstructions, side by side."""

    row: InversionRow
    shown: Pixmap


def measure(
    settings: TableSettings,
    data: Path,
    results: Results,
    *,
    jobs: Iterable[Job] | None = None,
    processes: int = 2,
    progress: Progress | None = None,
) -> Iterator[Found]:
    """Run what `results` lacks, add its rows there, and yield each as it is found.

    With 0 `processes`, in this one. Raises ConfigError for fewer test images than asked for,
    ImageError and TrainingError for data that does not fit LeNet.
    """
    _check(data, settings)
    missing = [
        left for job in (jobs or plan.jobs()) if (left := _left(job, settings, results)).attacks
    ]
    for number, (job, all_found) in enumerate(_ran(data, settings, missing, processes), start=1):
        for found in all_found:
            # First whoever draws it: a row that is stored has its pictures.
            yield found
            results.add(found.row.to_json())
        if progress is not None:
            progress(f"{job.cut} {job.defence}", number, len(missing))


def originals(data: Path, settings: TableSettings) -> Pixmap:
    """The images that contact sheets show, as `Found.shown`."""
    return strip(_secret(data, settings)[:_SHOWN])


def run(data: Path, settings: TableSettings, job: Job) -> list[Found]:
    """One job, in this process."""
    target = _Target(data, settings, job)
    return [target.attack(name) for name in job.attacks]


class _Target:
    """One network behind one defence, and what its adversaries see of the secret images."""

    def __init__(self, data: Path, settings: TableSettings, job: Job) -> None:
        self._settings, self._job = settings, job
        self._images = _read(data, settings.seed)
        self._secret = _secret(data, settings)
        defence = make(job.defence, job.strength)
        # What does not take part in training is put on the one plain network.
        trained = job if defence.trains else Job("fc1", ())
        self._network = _network(data, settings, replace(trained, attacks=()))
        self._defence = defence
        self._device = self._device_with(_key(settings.seed, "device"))

    def attack(self, name: str) -> Found:
        """Run one attack and score it."""
        generator = torch.Generator().manual_seed(attacker_seed(self._settings.seed))
        started = time.process_time()
        found = self._reconstructions(name, generator)
        seconds = time.process_time() - started
        psnr, similarity = (mean(score(found, self._secret)) for score in (psnr_db, ssim))
        row = InversionRow(
            **_configuration(self._job, name, self._settings),
            psnr_db=psnr.value,
            psnr_db_plus_minus=psnr.plus_minus,
            ssim=similarity.value,
            ssim_plus_minus=similarity.plus_minus,
            images=len(self._secret),
            task_accuracy=self._accuracy,
            cpu_s=round(seconds, 1),
        )
        return Found(row, strip(found[:_SHOWN]))

    def _reconstructions(self, name: str, generator: torch.Generator) -> torch.Tensor:
        job, settings, known = self._job, self._settings, self._images.train
        if name == plan.MEAN_IMAGE:
            return known.images.mean(0, keepdim=True).expand_as(self._secret)
        sent = self._device.send(self._secret)
        if name in (plan.BLACK, plan.RESIDUAL):
            own = self._device_with(_key(settings.seed, "attacker"))
            black = BlackBoxView(sent, own.send, known)
            return black_box(black, settings.black(job, name), generator=generator)
        if name == plan.QUERY_FREE:
            blind = QueryFreeView(sent, tail(self._network, job.cut), known)
            chosen = settings.query_free(job, lenet(known.classes))
            return query_free(blind, chosen, generator=generator)
        shape = lenet().input
        white = WhiteBoxView(sent, head(self._network, job.cut), shape, self._defence)
        return white_box(white, settings.white(job, name), generator=generator)

    @cached_property
    def _accuracy(self) -> float:
        return accuracy(self._device, tail(self._network, self._job.cut), self._images.test)

    def _device_with(self, key: bytes) -> Device:
        return Device(head(self._network, self._job.cut), self._defence, key)


def attacker_seed(seed: int) -> int:
    """Of the attackers' own draws. Not `seed`: a shadow that begins with the very weights that the
    attacked network began with comes out much too close to it.
    """
    return int.from_bytes(_key(seed, "draws")[:7], "big")


def _ran(
    data: Path, settings: TableSettings, jobs: list[Job], processes: int
) -> Iterator[tuple[Job, list[Found]]]:
    if not processes:
        yield from ((job, run(data, settings, job)) for job in jobs)
        return
    with child_processes.started(min(processes, len(jobs)), _MODULE) as ask:
        request = {"data": str(data.resolve()), "settings": asdict(settings)}
        for job, answer in ask([(job, request | {"job": asdict(job)}) for job in jobs]):
            yield job, [_from_json(each) for each in answer["found"]]


def answered(request: Raw, _tell: child_processes.Tell) -> Raw:
    """What a worker process makes of one request of `measure`."""
    fields = request["job"] | {"attacks": tuple(request["job"]["attacks"])}
    found = run(Path(request["data"]), TableSettings(**request["settings"]), Job(**fields))
    return {"found": [{"row": each.row.to_json(), "shown": each.shown.tolist()} for each in found]}


def _from_json(answer: Raw) -> Found:
    return Found(InversionRow.read(answer["row"]), np.array(answer["shown"], np.uint8))


def _check(data: Path, settings: TableSettings) -> None:
    have = len(_read(data, settings.seed).test)
    if have < settings.images:
        raise ConfigError(f"{data}: has {have} test images, {settings.images} were asked for")


def _left(job: Job, settings: TableSettings, results: Results) -> Job:
    attacks = (
        name for name in job.attacks if results.find(_configuration(job, name, settings)) is None
    )
    return replace(job, attacks=tuple(attacks))


def _configuration(job: Job, attack: str, settings: TableSettings) -> Raw:
    return {
        "attack": attack,
        "cut": job.cut,
        "defence": job.defence,
        "strength": job.strength,
        "seed": settings.seed,
    }


def _secret(data: Path, settings: TableSettings) -> torch.Tensor:
    return _read(data, settings.seed).test.images[: settings.images]


@lru_cache(maxsize=1)
def _read(data: Path, seed: int) -> datasets.TrainTest:
    return datasets.split(datasets.read(data), seed=seed)


@lru_cache(maxsize=2)
def _network(data: Path, settings: TableSettings, job: Job) -> torch.nn.Sequential:
    defence = make(job.defence, job.strength) if job.defence != "none" else Defence()
    known = _read(data, settings.seed).train
    trainee = Trainee(lenet(known.classes), job.cut, defence, _key(settings.seed, "device"))
    network = train(trainee, known, settings.training())
    return network.requires_grad_(False)


def _key(seed: int, whose: str) -> bytes:
    # From the seed, so that a figure can be measured again: no real device's images hide behind it.
    return hashlib.sha256(f"attack table {seed} {whose}".encode()).digest()[:KEY_BYTES]
