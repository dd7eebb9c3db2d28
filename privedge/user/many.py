"""Train many owners' RANs on one machine in parallel, each on that owner's images alone.

Sees the images and models of all these owners: for a device that holds them all, and for
experiments. A process trains one owner at a time on one thread, so models do not depend on the
number of processes. A model is written to a file (mode 0600), complete or not at all. The file
records what it was trained on, so an interrupted run can resume with the missing owners.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from privedge import child_processes, private_file
from privedge.arrays import Inputs
from privedge.errors import PrivEdgeError, TrainingError
from privedge.ran import npz as npz_file
from privedge.ran.alignment import aligner_for
from privedge.ran.inputs import given
from privedge.ran.spec import RanSpec, Subspace
from privedge.user import checkpoint
from privedge.user.fitting import TrainingStep, fit_ran
from privedge.user.saves import Saves
from privedge.user.sealed import Lock
from privedge.user.settings import TrainSettings

# Called with (owner, steps done, steps in all, mean squared error on the validation images).
Watch = Callable[[str, int, int, float], None]

UNFINISHED = ".unfinished"
_TASK = "task"
_MODULE = "privedge.user.many"
# Starting processes costs seconds too: below this much work one process is faster.
_WORTH_S = 10.0
_MOST_NAMED = 20


@dataclass(frozen=True)
class Job:
    """One owner's training.

    images: a folder, an npz, files, vectors (n, D), or uint8 (n, H, W[, 3]) at the size of
        `spec.image`, which for an aligned spec are faces that are cut out already.
    out: the file to write the RAN to.
    lock: encrypts it.
    """

    owner: str
    images: Path | tuple[Path, ...] | Inputs = field(repr=False)
    spec: RanSpec
    settings: TrainSettings
    out: Path
    lock: Lock | None = None


@dataclass(frozen=True)
class Done:
    """A job that is done. `reused`: whether an earlier run had trained it."""

    owner: str
    out: Path
    reused: bool


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # neither Windows nor macOS has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def train_all(
    jobs: Sequence[Job], *, processes: int = 1, resume: bool = False, watch: Watch | None = None
) -> Generator[Done, None, None]:
    """Train the owner of every job, and yield each job as it is done, in any order.

    With `resume`, an existing file is kept if its images, preset and settings are the same. Starts
    processes only if the remaining work is worth it. Raises TrainingError, which names the owner
    whose training failed or a file in the way. Files written by then stay.
    """
    _check(jobs, resume)
    for job in jobs:
        if job.out.exists():  # this check needs no process
            yield _done(job, _trained(job, watch))
    left = [job for job in jobs if not job.out.exists()]
    if processes > 1 and left and isinstance(left[0].spec.layers[0], Subspace):
        # The time for a closed form depends on the images, so the first job measures it.
        started = perf_counter()
        yield _done(left[0], _trained(left.pop(0), watch))
        if (perf_counter() - started) * len(left) < _WORTH_S:
            processes = 1
    if min(processes, len(left)) > 1:
        yield from _side_by_side(left, processes, watch)
    else:
        for job in left:
            yield _done(job, _trained(job, watch))


def answered(
    request: child_processes.Message, tell: child_processes.Tell
) -> child_processes.Message:
    """Train one job in a child process, and return its answer."""

    def watch(_: str, *now: float) -> None:
        tell({"now": now})

    images, lock = request["images"], request["lock"]
    spec = RanSpec.from_json(request["spec"])
    source = Path(images) if isinstance(images, str) else tuple(map(Path, images))
    job = Job(
        request["owner"],
        given(source, spec.image) if request["at_size"] else source,
        spec,
        TrainSettings.from_dict(request["settings"]),
        Path(request["out"]),
        lock and Lock.from_dict(lock),
    )
    return {"reused": _trained(job, watch)}


def _side_by_side(
    jobs: Sequence[Job], processes: int, watch: Watch | None
) -> Generator[Done, None, None]:
    def told(job: Job, message: child_processes.Message) -> None:
        if watch is not None:
            step, steps, error = message["now"]
            watch(job.owner, int(step), int(steps), error)

    try:
        with (
            # The images are as secret as the models, and are kept in the same folder.
            tempfile.TemporaryDirectory(dir=jobs[0].out.parent, prefix=".images-") as folder,
            child_processes.started(min(processes, len(jobs)), _MODULE) as ask,
        ):
            requests = [
                (job, _request(job, Path(folder) / f"{n}.npz")) for n, job in enumerate(jobs)
            ]
            with closing(ask(requests, told)) as answers:
                for job, answer in answers:
                    yield _done(job, answer["reused"])
    except BaseException:
        # A process that is killed while it writes leaves an incomplete file behind.
        for job in jobs:
            private_file.remove_parts(job.out)
            private_file.remove_parts(_unfinished(job))
        raise


def _request(job: Job, npz: Path) -> child_processes.Message:
    images = job.images
    at_size = isinstance(images, np.ndarray)
    if isinstance(images, np.ndarray):
        npz_file.write(npz, images)
        images = npz
    source = (
        str(images.resolve()) if isinstance(images, Path) else [str(f.resolve()) for f in images]
    )
    return {
        "owner": job.owner,
        "images": source,
        "at_size": at_size,
        "spec": job.spec.to_json(),
        "settings": job.settings.to_dict(),
        "out": str(job.out.resolve()),
        # It goes through a pipe to a child process of our own.
        "lock": job.lock and job.lock.to_dict(),
    }


def _trained(job: Job, watch: Watch | None) -> bool:
    """Return True if the RAN of `job` exists; else train and write it, and return False."""
    images = job.images
    if not isinstance(images, np.ndarray):
        settings = job.settings
        aligner = aligner_for(job.spec, settings.files, largest=settings.largest_face)
        images = given(images, job.spec.image, aligner=aligner)
    task = _task(job, images)
    if job.out.exists():
        if checkpoint.load(job.out, job.lock).facts.get(_TASK) != task:
            raise TrainingError(
                f"{job.out}: was trained with other images, preset or settings; remove it to train "
                "it again"
            )
        return True
    unfinished = _unfinished(job)

    def progress(now: TrainingStep) -> None:
        if watch is not None:
            watch(job.owner, now.step, now.steps, now.validation_error)

    try:
        ran = fit_ran(
            images,
            job.spec,
            replace(job.settings, threads=1),
            job.owner,
            progress=progress,
            saving=Saves(unfinished, resume=unfinished.exists(), lock=job.lock),
        )
    except PrivEdgeError as error:
        # There are many owners, so the message must name the one.
        raise TrainingError(f"{job.owner}: {error}") from error
    checkpoint.save(replace(ran, facts=ran.facts | {_TASK: task}), job.out, job.lock)
    unfinished.unlink(missing_ok=True)
    return False


def _unfinished(job: Job) -> Path:
    return job.out.with_name(job.out.name + UNFINISHED)


def _task(job: Job, images: Inputs) -> str:
    """Hash everything on which the parameters depend."""
    settings = asdict(job.settings)
    # The spec has the files' digests, and the images are of the faces that were taken.
    for without in ("device", "threads", "files", "largest_face"):
        del settings[without]
    named: dict[str, Any] = {
        "owner": job.owner,
        "spec": job.spec.digest(),
        "settings": settings,
        "images": hashlib.sha256(images.tobytes()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()


def _require_owners(names: Sequence[str]) -> None:
    """Raise TrainingError, which names all that are no owners' names."""
    if wrong := [ascii(name[:80]) for name in names if not checkpoint.OWNER.fullmatch(name)]:
        more = ", ..." if len(wrong) > _MOST_NAMED else ""
        raise TrainingError(
            f"owner {', '.join(wrong[:_MOST_NAMED])}{more}: the name must be "
            f"{checkpoint.OWNER_RULE}"
        )


def _check(jobs: Sequence[Job], resume: bool) -> None:
    """Check before hours of training that every file can be written and none is in the way."""
    _require_owners([job.owner for job in jobs])
    for job in jobs:
        private_file.require_writable(job.out)
        for file in (job.out, _unfinished(job)):
            if file.exists() and not resume:
                raise TrainingError(f"{file}: exists; give --resume to go on, or remove it")
    if len({str(job.out).casefold() for job in jobs}) < len(jobs):  # as many systems do
        raise TrainingError("owners: two would be written to the same file; rename one of them")


def _done(job: Job, reused: bool) -> Done:
    return Done(job.owner, job.out, reused)
