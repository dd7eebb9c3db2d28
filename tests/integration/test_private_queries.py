"""Queries to a running deployment get the answers of the plaintext fixed-point model."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from parties.cores import chosen, usable_cores
from privedge.errors import (
    AlreadyExists,
    ImageError,
    LimitExceeded,
    ManifestMismatch,
    NotAllowed,
    NotReady,
    ShareError,
    UnknownCohort,
    UnknownModel,
)
from privedge.identity.roles import Identity, Role
from privedge.ran.features import extract
from privedge.ran.images import fit
from privedge.rpc import codec
from privedge.rpc.status import calls_to
from privedge.sharing.question import Question, new_query_id
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from privedge_lab.reference.model import PlainModel
from tests.integration.asking import CLIENT, PARTIES, clear_distances, client, config, status, stub
from tests.integration.conftest import COHORT, MARGIN, MEAN

pytestmark = pytest.mark.mpc

# A truncation may be one unit high. Errors of that size move a sum of squares by far less than
# this share of it; closer calls than that are ties and counted apart.
ROUNDING = 1e-4
QUERIES = 200


def expected_answers(distances: np.ndarray) -> tuple[list[str | None], np.ndarray]:
    """What the clear model answers, and which answers are no close calls."""
    order = np.argsort(distances, axis=1)
    rows = np.arange(len(distances))
    best, second = (distances[rows, order[:, rank]].astype(float) for rank in (0, 1))
    margin = round(MARGIN * 1024) / 1024
    known = best < margin * second
    sure = (abs(second - best) > ROUNDING * best) & (abs(best - margin * second) > ROUNDING * best)
    names = [
        f"digit-{owner}" if yes else None for owner, yes in zip(order[:, 0], known, strict=True)
    ]
    return names, sure


def test_200_private_labels_equal_the_plaintext_fixed_point_labels(deployment, rans, some_digits):
    images = some_digits.test_images[:QUERIES]
    expected, sure = expected_answers(clear_distances(rans, images))
    with client(deployment) as asking:
        # More than one batch holds: the client asks in several.
        got = [answer.owner for answer in asking.identify(images, COHORT).answers]
    different = [i for i in range(QUERIES) if got[i] != expected[i]]
    assert [i for i in different if sure[i]] == []
    assert (~sure).sum() <= 2
    assert None in expected  # some are unknown: both ways are tried
    right = sum(
        name == f"digit-{label}"
        for name, label in zip(got, some_digits.test_labels[:200], strict=True)
    )
    assert right > 0.85 * QUERIES


def test_a_cohort_that_goes_by_the_mean_too_answers_as_its_rule_says(deployment, rans, some_digits):
    images = some_digits.test_images[:60]
    for ran in rans:
        send(ran, MEAN.name, deployment.client_config(Identity(Role.OWNER, ran.owner)))
    with client(deployment) as asking:
        assert asking.describe(MEAN.name).mean_share == MEAN.mean_share
        got = [answer.owner for answer in asking.identify(images, MEAN.name).answers]
    given = extract(rans[0].spec, fit(images, rans[0].spec.image))
    expected = PlainModel(rans, MEAN.margin, MEAN.mean_share).answers(given)
    pairs = [(name, each.owner) for name, each in zip(got, expected, strict=True) if not each.tie]
    assert len(pairs) > 50 and all(name == owner for name, owner in pairs)
    # The second best alone, at the same margin, knows fewer.
    assert 0 < got.count(None) < PlainModel(rans, MEAN.margin).owners(given).count(None)


def test_verify_says_yes_to_the_owner_and_no_to_others(deployment, rans, some_digits):
    images = some_digits.test_images[:20]
    expected, sure = expected_answers(clear_distances(rans, images))
    asked = next(i for i in range(20) if sure[i] and expected[i])
    image, owner = images[asked : asked + 1], expected[asked]
    other = "digit-1" if owner != "digit-1" else "digit-2"
    with client(deployment) as asking:
        assert asking.verify(image, owner, COHORT).answers[0].owner == owner
        assert asking.verify(image, other, COHORT).answers[0].owner is None


def test_noise_is_unknown(deployment):
    noise = np.random.default_rng(0).integers(0, 256, size=(3, 32, 32), dtype=np.uint8)
    with client(deployment) as asking:
        assert [a.owner for a in asking.identify(noise, COHORT).answers] == [None] * 3


def test_images_of_one_subject_get_one_answer(deployment, some_digits):
    fours = some_digits.test_images[some_digits.test_labels == 4][:6]
    with client(deployment) as asking:
        reply = asking.identify(fours, COHORT, one_subject=True)
    assert [answer.owner for answer in reply.answers] == ["digit-4"]


def test_too_many_images_of_one_subject_are_refused_here_and_there(deployment, question):
    with client(deployment) as asking, pytest.raises(ImageError, match="at most 32"):
        asking.identify(np.zeros((33, 8, 8), np.uint8), COHORT, one_subject=True)
    many = replace(question, shape=(33, *question.shape[1:]), one_subject=True)
    for party in PARTIES:
        with pytest.raises(LimitExceeded):
            send_half(deployment, party, many)


def test_a_batch_over_the_limit_is_refused(deployment, question):
    with pytest.raises(LimitExceeded):
        send_half(deployment, Role.PARTY0, replace(question, shape=(65, *question.shape[1:])))


def test_c41_a_client_notices_that_the_cohort_has_changed(deployment, rans, one_image):
    with client(deployment) as asking:
        asking.identify(one_image, COHORT)
        newer = rans[3]
        send(newer, COHORT, config(deployment, Identity(Role.OWNER, newer.owner)))
        assert len(asking.identify(one_image, COHORT).answers) == 1


def test_c44_concurrent_clients_get_their_own_answers(deployment, rans, some_digits):
    images = some_digits.test_images[:6]
    expected, _ = expected_answers(clear_distances(rans, images))

    def ask(index: int) -> str | None:
        with client(deployment) as asking:
            return asking.identify(images[index : index + 1], COHORT).answers[0].owner

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(ask, range(6))) == expected


def test_rounds_and_bytes_are_the_same_whatever_the_answer(deployment, some_digits):
    noise = np.zeros((1, 32, 32), np.uint8)
    with client(deployment) as asking:
        first = asking.identify(some_digits.test_images[:1], COHORT).costs[0]
        second = asking.identify(noise, COHORT).costs[0]
    assert (first.rounds, first.bytes_to_peer) == (second.rounds, second.bytes_to_peer)


def test_the_command_line_asks_with_image_files(deployment, tmp_path, some_digits):
    files = []
    for index in range(2):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(some_digits.test_images[index]).save(files[-1])
    config = deployment.write_client_config(CLIENT)
    asked = [*map(str, files), "--cohort", COHORT, "--config", str(config), "--json"]
    said = json.loads(privedge("query", *asked).stdout)
    answers = said["answers"]
    # Two shares of 2 x 512 features up, two of 2 x 10 owners down.
    assert (said["bytes_sent"], said["bytes_received"]) == (2 * 3 * 2 * 512, 2 * 8 * 2 * 10)
    with client(deployment) as asking:
        assert answers == [a.owner for a in asking.identify(files, COHORT).answers]
    verified = json.loads(privedge("verify", *asked, "--owner", "digit-3").stdout)["answers"]
    assert verified == [name == "digit-3" for name in answers]


def test_the_command_line_says_in_one_line_what_is_wrong(deployment, tmp_path):
    config = str(deployment.write_client_config(CLIENT))
    missing = privedge("query", str(tmp_path / "no.png"), "--cohort", COHORT, "--config", config)
    assert missing.returncode == 1
    assert "no.png" in missing.stderr and missing.stderr.count("\n") == 1
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    empty = privedge("query", str(tmp_path / "a.png"), "--cohort", "empty", "--config", config)
    assert empty.returncode == 1
    assert "no active model" in empty.stderr and empty.stderr.count("\n") == 1


def privedge(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("privedge")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_c40_unknown_cohorts_and_owners_are_named_as_such(deployment, one_image):
    with client(deployment) as asking:
        with pytest.raises(UnknownCohort):
            asking.identify(one_image, "nowhere")
        with pytest.raises(NotReady):
            asking.identify(one_image, "empty")
        with pytest.raises(UnknownModel):
            asking.verify(one_image, "nobody", COHORT)


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN])
def test_only_clients_may_query(deployment, role):
    for party in PARTIES:
        call = stub(deployment, party, Identity(role, "someone")).Query(iter(()), timeout=10)
        with pytest.raises(grpc.RpcError) as refusal:
            next(call)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_nobody_but_a_party_may_reach_party_1s_workers(deployment):
    from parties.wire.mpc_pb2_grpc import MpcStub
    from privedge.rpc.channel import open_channel

    address = f"127.0.0.1:{deployment.worker_port}"
    tls = deployment.tls(CLIENT)
    with (
        open_channel(address, server=Role.PARTY1, tls=tls) as channel,
        pytest.raises(NotAllowed),
        calls_to("worker"),
    ):
        next(MpcStub(channel).Exchange(iter(()), timeout=10))


@pytest.mark.skipif(
    len(usable_cores()) < 2, reason="Linux with two cores, so that the places can differ"
)
def test_front_ends_and_workers_keep_to_a_core_each_and_not_to_the_same(deployment):
    for number, party in enumerate(PARTIES):
        (worker,) = status(deployment, party).worker_pids
        front_end = deployment.processes[party].pid
        places = [os.sched_getaffinity(pid) for pid in (worker, front_end)]
        assert places == [{*chosen(number + at, 1, usable_cores())} for at in (0, 1)]


@pytest.fixture
def question(deployment) -> Question:
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    return Question(new_query_id(), COHORT, cohort.snapshot_id, (1, *cohort.spec.input_shape))


def send_half(deployment, party: Role, question: Question, raw: bytes | None = None):
    """Send one half by hand; returns the answer header."""
    body = bytes(8 * question.words) if raw is None else raw
    messages = [pb.QueryRequest(header=codec.question_to_wire(question))]
    messages += [pb.QueryRequest(words=body[i : i + 4096]) for i in range(0, len(body), 4096)]
    with calls_to(str(party)):
        return next(stub(deployment, party).Query(iter(messages), timeout=30)).header


def both_halves(deployment, first: Question, second: Question) -> list[BaseException | None]:
    with ThreadPoolExecutor(2) as threads:
        halves = [
            threads.submit(send_half, deployment, party, question)
            for party, question in zip(PARTIES, (first, second), strict=True)
        ]
        return [half.exception() for half in halves]


def test_shares_of_different_shape_are_refused_and_both_parties_keep_serving(
    deployment, question, one_image
):
    larger = replace(question, shape=(2, *question.shape[1:]))
    before = [status(deployment, party).worker_pids for party in PARTIES]
    for error in both_halves(deployment, question, larger):
        assert isinstance(error, ManifestMismatch)
    with client(deployment) as asking:
        assert len(asking.identify(one_image, COHORT).answers) == 1
    assert [status(deployment, party).worker_pids for party in PARTIES] == before


def test_different_questions_at_the_two_parties_are_refused(deployment, question):
    other = replace(question, verify_owner="digit-1")
    for error in both_halves(deployment, question, other):
        assert isinstance(error, ManifestMismatch)


def test_c35_c36_a_query_id_works_once(deployment, question):
    assert both_halves(deployment, question, question) == [None, None]
    for error in both_halves(deployment, question, question):
        assert isinstance(error, AlreadyExists)


@pytest.mark.parametrize("cut", [1, 8, 4096])
def test_c40_a_share_of_the_wrong_length_is_refused(deployment, question, cut):
    for raw in (bytes(8 * question.words - cut), bytes(8 * question.words + cut)):
        with pytest.raises(ShareError):
            send_half(deployment, Role.PARTY0, replace(question, query_id=new_query_id()), raw)


def test_c40_a_query_of_another_architecture_is_refused(deployment, question):
    for party in PARTIES:
        with pytest.raises(ShareError):
            send_half(deployment, party, replace(question, shape=(1, 3, 3, 3)))


def test_the_logs_name_neither_owners_nor_answers(deployment, one_image):
    with client(deployment) as asking:
        asking.identify(one_image, COHORT)
    for server in deployment.processes:
        assert "digit-" not in deployment.log_file(server).read_text()
