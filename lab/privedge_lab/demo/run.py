"""The whole system on real digits, from training to answers.

    1.  ten owners train one model each, on the images of one digit
    2.  dealer, party 0 and party 1 start, each in a process of its own
    3.  every owner uploads one share of the model to each party
    4.  a client asks about test images one by one, then about some of unknown subjects
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
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np

from privedge.arrays import Pixels
from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.errors import ConfigError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS, CohortSetting, Deployment
from privedge.progress import Progress
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.rpc.channel import open_party, peer_name
from privedge.rpc.status import calls_to
from privedge.sharing.cost import Cost
from privedge.user import upload
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub
from privedge_lab.demo import digits, owners, plaintext
from privedge_lab.demo.plaintext import Plain

COHORT = "digits"
# The best owner's error must be clearly below the second best's, or the answer is "unknown". With
# this margin, about one in a hundred of the images held out from training gets no answer.
MARGIN = 0.85
# A quarter turn makes these digits into no digit at all; the others still look like digits.
_TURNABLE = (2, 3, 4, 5, 7)
_STRANGERS = 10
# A large preset on a slow machine is slow, but this is enough.
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Plan:
    """What to run. Logs, summary and page are written to `out`.

    public: the public files; their encoder takes the place of the preset's feature map.
    """

    preset: str
    queries: int
    seed: int
    out: Path
    public: PublicFiles = NO_FILES


@dataclass(frozen=True)
class Exchange:
    """One question, its private answer and the plaintext one.

    `image` is uint8 (32, 32). `truth` and `answer` are owners; None means unknown.
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
    spec: RanSpec
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
    """Run the whole demo. Raises ConfigError for an impossible plan, and any error of a step."""
    started = perf_counter()
    spec = spec_named(plan.preset, height=32, width=32, channels=1, files=plan.public)
    data = digits.load(plan.seed)
    if plan.queries > len(data.test_images):
        raise ConfigError(f"queries: there are only {len(data.test_images)} test images")
    images, strangers = data.test_images[: plan.queries], _strangers(data)
    with tempfile.TemporaryDirectory(prefix="privedge-demo-") as temporary:
        folder = Path(temporary)
        means = owners.Means(spec, plan.public, folder, plan.seed)
        rans = owners.train(data.train_images, means, progress)
        progress("start", 0, len(SERVERS))
        with _running(spec, folder / "system", plan.out) as deployment:
            progress("start", len(SERVERS), len(SERVERS))
            _upload(rans, deployment, progress)
            replies = _ask(deployment, np.concatenate([images, strangers]), plan.public, progress)
            seen = (_seen(deployment, Role.PARTY0), _seen(deployment, Role.PARTY1))
    truths = [owners.name(int(digit)) for digit in data.test_labels[: plan.queries]]
    exchanges = _compared(plan, rans, images, truths, replies[: plan.queries])
    nobody = [None] * len(strangers)
    return Outcome(
        plan,
        spec,
        len(rans),
        exchanges,
        _compared(plan, rans, strangers, nobody, replies[plan.queries :]),
        seen,
        perf_counter() - started,
    )


def _strangers(data: digits.Digits) -> Pixels:
    """Return test images turned by a quarter, which belong to no owner: uint8 (n, 32, 32)."""
    turnable = data.test_images[np.isin(data.test_labels, _TURNABLE)][:_STRANGERS]
    return np.ascontiguousarray(np.rot90(turnable, axes=(1, 2)))


@contextmanager
def _running(spec: RanSpec, folder: Path, out: Path) -> Iterator[Deployment]:
    """Run all three servers; in every case, keep their logs in `out`."""
    cohort = CohortSetting.of(spec, COHORT, margin=MARGIN)
    deployment = Deployment(folder, [cohort], {"query_deadline_s": _TIMEOUT_S})
    try:
        with deployment:
            yield deployment
    finally:
        shutil.copytree(folder / "logs", out / "logs", dirs_exist_ok=True)


def _upload(rans: Sequence[Ran], deployment: Deployment, progress: Progress) -> None:
    for done, ran in enumerate(rans, start=1):
        upload.send(ran, COHORT, _config(deployment, Identity(Role.OWNER, ran.owner)))
        progress("upload", done, len(rans))


def _ask(
    deployment: Deployment, images: Pixels, public: PublicFiles, progress: Progress
) -> list[_Reply]:
    """Ask about one image at a time; the seconds are the client's waiting time."""
    replies = []
    with Client(_config(deployment, Identity(Role.CLIENT, "carla"), public)) as client:
        for done, image in enumerate(images, start=1):
            started = perf_counter()
            reply = client.identify(image[None], COHORT)
            seconds = perf_counter() - started
            replies.append(_Reply(reply.answers[0].owner, seconds, reply.costs))
            progress("ask", done, len(images))
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
    plan: Plan,
    rans: Sequence[Ran],
    images: Pixels,
    truths: Sequence[str | None],
    replies: Sequence[_Reply],
) -> list[Exchange]:
    plain = plaintext.ask(rans, images, MARGIN, plan.public)
    return [
        Exchange(image, truth, reply.answer, clear, reply.seconds, reply.costs)
        for image, truth, reply, clear in zip(images, truths, replies, plain, strict=True)
    ]
