"""The whole system on real pictures, from training to answers.

    1.  owners train one model each, on their own pictures
    2.  dealer, party 0 and party 1 start, each in a process of its own
    3.  every owner uploads one share of the model to each party
    4.  a client asks about test pictures one by one, then about some of strangers
    5.  ask the parties what they have seen, and stop everything
    6.  ask the same models in the clear

Sees everything: it plays all owners, the client and the three operators, so nothing in a demo is
private from the demo itself. Keys, models and shares live in a temporary folder until it ends;
the servers' logs are kept.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

from PIL import Image

from privedge.arrays import Pixels
from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS, CohortSetting, Deployment
from privedge.progress import Progress
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.rpc.channel import open_party, peer_name
from privedge.rpc.status import calls_to
from privedge.sharing.cost import Cost
from privedge.user import upload
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub
from privedge_lab.demo import owners, plaintext
from privedge_lab.demo.plaintext import Plain
from privedge_lab.demo.task import Task

# A large preset on a slow machine is slow, but this is enough.
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Plan:
    """What to run. Logs, summary and page are written to `out`."""

    task: Task
    seed: int
    out: Path


@dataclass(frozen=True)
class Exchange:
    """One question, its private answer and the plaintext one.

    `image` is uint8 (H, W) or (H, W, 3). `truth` and `answer` are owners; None means unknown.
    """

    image: Pixels = field(repr=False)
    truth: str | None
    answer: str | None
    plain: Plain
    seconds: float
    costs: tuple[Cost, Cost]


@dataclass(frozen=True)
class Seen:
    """What one party reports: bytes of shares received, and questions answered."""

    model_bytes: int
    image_bytes: int
    questions: int


@dataclass(frozen=True)
class Outcome:
    """Everything that the report and the page need."""

    plan: Plan
    owners: int
    asked: Sequence[Exchange]
    strangers: Sequence[Exchange]
    seen: tuple[Seen, Seen]
    seconds: float


@dataclass(frozen=True)
class _Reply:
    answer: str | None
    seconds: float
    costs: tuple[Cost, Cost]


def run(plan: Plan, progress: Progress) -> Outcome:
    """Run the whole demo. Raises any error of a step."""
    started, task = perf_counter(), plan.task
    with tempfile.TemporaryDirectory(prefix="privedge-demo-") as temporary:
        folder = Path(temporary)
        means = owners.Means(task.spec, task.public, folder, plan.seed)
        rans = owners.train(task.learnt, means, progress)
        progress("start", 0, len(SERVERS))
        with _running(task, folder / "system", plan.out) as deployment:
            progress("start", len(SERVERS), len(SERVERS))
            _upload(rans, task.cohort, deployment, progress)
            replies = _ask(deployment, task, progress)
            seen = (_seen(deployment, Role.PARTY0), _seen(deployment, Role.PARTY1))
    plain = plaintext.ask(rans, task, [*task.asked, *task.strangers])
    asked = list(zip(replies, plain, strict=True))
    nobody = [None] * len(task.strangers)
    return Outcome(
        plan,
        len(rans),
        _compared(task.asked, task.truths, asked[: len(task.asked)]),
        _compared(task.strangers, nobody, asked[len(task.asked) :]),
        seen,
        perf_counter() - started,
    )


@contextmanager
def _running(task: Task, folder: Path, out: Path) -> Iterator[Deployment]:
    """Run all three servers; in every case, keep their logs in `out`."""
    rivals = None if task.rivals is None else str(task.rivals.absolute())
    cohort = CohortSetting.of(task.spec, task.cohort, margin=task.margin)
    cohort = replace(cohort, rivals=rivals)
    deployment = Deployment(folder, [cohort], {"query_deadline_s": _TIMEOUT_S})
    try:
        with deployment:
            yield deployment
    finally:
        shutil.copytree(folder / "logs", out / "logs", dirs_exist_ok=True)


def _upload(rans: Sequence[Ran], cohort: str, deployment: Deployment, progress: Progress) -> None:
    for done, ran in enumerate(rans, start=1):
        upload.send(ran, cohort, _config(deployment, Identity(Role.OWNER, ran.owner)))
        progress("upload", done, len(rans))


def _ask(deployment: Deployment, task: Task, progress: Progress) -> list[_Reply]:
    """Ask about one picture at a time; the seconds are the client's waiting time."""
    replies, pictures = [], [*task.asked, *task.strangers]
    config = _config(deployment, Identity(Role.CLIENT, "carla"), task.public)
    with Client(config) as client:
        for done, picture in enumerate(pictures, start=1):
            started = perf_counter()
            reply = client.identify(Image.fromarray(picture), task.cohort)
            seconds = perf_counter() - started
            replies.append(_Reply(reply.answers[0].owner, seconds, reply.costs))
            progress("ask", done, len(pictures))
    return replies


def _seen(deployment: Deployment, party: Role) -> Seen:
    """Ask a party for its status, as its operator would."""
    with (
        open_party(_config(deployment, ADMIN), party) as channel,
        calls_to(peer_name(party, deployment.address(party))),
    ):
        said = PartyStub(channel).Status(pb.StatusRequest(), timeout=_TIMEOUT_S)
    return Seen(said.upload_bytes, said.query_bytes, said.queries_answered)


def _config(deployment: Deployment, who: Identity, public: PublicFiles = NO_FILES) -> ClientConfig:
    return deployment.client_config(who, rpc_timeout_s=_TIMEOUT_S, files=public)


def _compared(
    pictures: Sequence[Pixels],
    truths: Sequence[str | None],
    asked: Sequence[tuple[_Reply, Plain]],
) -> list[Exchange]:
    return [
        Exchange(picture, truth, reply.answer, clear, reply.seconds, reply.costs)
        for picture, truth, (reply, clear) in zip(pictures, truths, asked, strict=True)
    ]
