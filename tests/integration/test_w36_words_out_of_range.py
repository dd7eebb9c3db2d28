"""W-36 and W-37 at running servers: words that no client or owner of ours would send.

Owners of today and of before narrow words, one owner with random words, and clients who send
whatever bytes they like, in both forms.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from privedge.client.answers import read_answers
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran.narrow import word_bits
from privedge.ran.presets import preset
from privedge.rpc import codec
from privedge.rpc.status import calls_to
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.question import Question, new_query_id
from privedge.sharing.ring import Words, from_bytes, to_bytes, width
from privedge.sharing.split import split
from privedge.user import upload
from privedge.user.checkpoint import Ran
from privedge.user.party import Party
from privedge.wire import party_pb2 as pb
from tests.integration.asking import PARTIES, client, stub

pytestmark = pytest.mark.mpc

COHORT = "people"
SPEC = preset("vector", size=32, unit_length=True, components=2)
HONEST = ("ana", "ben", "cleo")
HOSTILE = "mallory"
# Each is one call with so many hostile queries.
CALLS, BATCH = 6, 16


def a_ran(owner: str, seed: int) -> Ran:
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=32)
    parameters = {
        "0.basis": np.linalg.qr(rng.normal(size=(32, 2)))[0].T.astype(np.float32),
        "0.mean": (mean / np.linalg.norm(mean)).astype(np.float32),
        "threshold": np.array([32767.0], np.float32),
    }
    return Ran(SPEC, owner, parameters)


RANS = [a_ran(owner, seed) for seed, owner in enumerate(HONEST)]


def images() -> np.ndarray:
    """One near each honest owner, and a stranger; of length 1."""
    rng = np.random.default_rng(9)
    near = [ran.parameters["0.mean"] + 0.05 * rng.normal(size=32) for ran in RANS]
    return np.stack([*near, rng.normal(size=32)]).astype(np.float32)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    cohorts = [CohortSetting.of(SPEC, COHORT, margin=0.7)]
    folder = tmp_path_factory.mktemp("words")
    with Deployment(folder, cohorts, {"pool": {"bundles": 0}}) as running:
        send(running, RANS[0])
        send(running, RANS[1])
        with pytest.MonkeyPatch.context() as before:
            # As an owner does who knows of no narrow words.
            before.setattr(Party, "wanted", lambda self, cohort: (SPEC, 64))
            send(running, RANS[2])
        yield running


def send(deployment: Deployment, ran: Ran) -> upload.Receipt:
    return upload.send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))


def names(deployment: Deployment) -> list[str | None]:
    with client(deployment) as asking:
        return [answer.owner for answer in asking.identify(images(), COHORT).answers]


def halves(deployment: Deployment, question: Question, raw: tuple[bytes, bytes]) -> Words:
    """The opened rows of a question whose shares are these bytes."""

    def half(party: Role, body: bytes) -> Words:
        messages = [pb.QueryRequest(header=codec.question_to_wire(question))]
        messages.append(pb.QueryRequest(words=body))
        with calls_to(str(party)):
            said = list(stub(deployment, party).Query(iter(messages), timeout=60))
        shape = tuple(said[0].header.shape)
        return from_bytes(b"".join(each.words for each in said[1:]), shape)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(half, PARTIES, raw)
    return combine(first, second)


def assert_hostile_bytes_name_one_or_nobody(deployment: Deployment) -> None:
    rng = np.random.default_rng(4)
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    assert cohort.word_bits == word_bits(SPEC) == 24
    for bits in (24, 64):
        for _ in range(CALLS):
            shape = (BATCH, *SPEC.input_shape)
            question = Question(new_query_id(), COHORT, cohort.snapshot_id, shape, word_bits=bits)
            first, second = (rng.bytes(width(bits) * question.words) for _ in range(2))
            rows = halves(deployment, question, (first, second))
            # Raises IntegrityError for anything but one name or none in each row.
            answers = read_answers(rows, cohort.owners, question)
            # Random words have no norm that an image may have.
            assert [answer.owner for answer in answers] == [None] * BATCH


def test_owners_of_before_and_of_today_are_answered_alike(deployment):
    assert names(deployment) == [*HONEST, None]


def test_w37_any_bytes_are_a_query_that_names_one_owner_or_nobody(deployment):
    assert_hostile_bytes_name_one_or_nobody(deployment)


def test_a_query_in_words_of_64_bits_is_answered_as_before(deployment):
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    unit = images() / np.linalg.norm(images(), axis=1, keepdims=True)
    words = encode(unit)
    question = Question(new_query_id(), COHORT, cohort.snapshot_id, words.shape)
    first, second = map(to_bytes, split(words))
    rows = halves(deployment, question, (first, second))
    answers = read_answers(rows, cohort.owners, question)
    assert [answer.owner for answer in answers] == [*HONEST, None]


@pytest.mark.parametrize("wide", [False, True])
def test_w36_one_owner_with_random_words_ends_no_honest_query(deployment, monkeypatch, wide):
    rng = np.random.default_rng(6)

    def any_words(ran: Ran, name: str) -> Words:
        shape = ran.spec.parameters()[name]
        return rng.integers(0, 1 << 64, size=shape, dtype=np.uint64)

    monkeypatch.setattr(upload, "_encoded", any_words)
    if wide:
        monkeypatch.setattr(Party, "wanted", lambda self, cohort: (SPEC, 64))
    for _ in range(3):
        send(deployment, a_ran(HOSTILE, 7))
        # No IntegrityError. Whom it names is another matter: random rows are no honest model.
        assert len(names(deployment)) == len(HONEST) + 1
    assert_rows_are_valid(deployment)


def assert_rows_are_valid(deployment: Deployment) -> None:
    rng = np.random.default_rng(8)
    with client(deployment) as asking:
        for _ in range(4):
            many = rng.normal(size=(BATCH, 32)).astype(np.float32)
            assert len(asking.identify(many, COHORT).answers) == BATCH
