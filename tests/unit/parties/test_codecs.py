"""The codecs of a front end and of a worker: values survive a round trip, secrets have no repr."""

import os
from pathlib import Path

import pytest

from parties.party.edge import codec as edge
from parties.party.models.cohorts import ModelRef
from parties.party.queries.inbox import HeldChange
from parties.party.queries.pending import QueryRef, Run
from parties.party.workers.messages import AnswerBytes, Job, PoolLevel
from parties.wire import mpc_pb2, worker_pb2
from parties.worker import codec as worker
from parties.worker.preprocessing.orders import Order, Progress, State
from parties.worker.snapshot_cache import ModelFile, Snapshot
from parties.worker.task import Kind, Method
from privedge.errors import ShareError
from privedge.ran.presets import preset
from privedge.rpc.channel import MAX_MESSAGE_BYTES
from privedge.sharing.cost import Cost
from privedge.sharing.manifest import new_model_id
from privedge.sharing.question import new_query_id

SPEC = preset("subspace32", height=32, width=32, channels=1)
SNAPSHOT = Snapshot("5a" * 32, "digits", SPEC, 0.5, 0.25, ())


def refs(count: int) -> tuple[QueryRef, ...]:
    return tuple(QueryRef(new_query_id(), os.urandom(32)) for _ in range(count))


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_run_is_ordered_as_it_is(count):
    run = Run(os.urandom(16), 3, refs(count))
    assert edge.run_from_wire(edge.run_to_wire(run)) == run


def test_what_party_1_holds_is_told_as_it_is():
    change = HeldChange(refs(3), tuple(new_query_id() for _ in range(2)))
    assert list(edge.held_changes_from_wire(edge.held_change_to_wire(change))) == [change]
    for damaged in (None, frozenset(), frozenset({new_model_id()})):
        change = HeldChange(damaged=damaged)
        assert list(edge.held_changes_from_wire(edge.held_change_to_wire(change))) == [change]


def test_w71_any_number_of_damaged_models_is_told_in_messages_below_the_limit():
    damaged = frozenset(f"{number:032x}" for number in range(120_000))
    changes = [HeldChange(refs(3), damaged=damaged), HeldChange(left=(new_query_id(),))]
    messages = [each for change in changes for each in edge.held_change_to_wire(change)]
    assert max(each.ByteSize() for each in messages) < MAX_MESSAGE_BYTES // 4
    assert list(edge.held_changes_from_wire(messages)) == changes


def test_a_model_is_named_by_id_and_digest_and_no_other_text_is_an_id():
    ref = ModelRef("0" * 32, "f" * 64)
    message = edge.model_ref_to_wire(ref)
    assert edge.model_ref_from_wire(message) == ref
    message.model_id = "../" * 10
    with pytest.raises(ShareError):
        edge.model_ref_from_wire(message)


# The first owner's position is 0, which is not the same as none.
@pytest.mark.parametrize("position", [None, 0, 7])
@pytest.mark.parametrize("one_subject", [False, True])
def test_a_worker_gets_the_task_that_its_front_end_means(position, one_subject):
    shape = (2, *SPEC.input_shape)
    job = Job(os.urandom(16), SNAPSHOT.id, shape, one_subject, position)
    request = edge.run_request_to_wire(job, b"words")
    task = worker.task_from_wire(request.job, SNAPSHOT, Method("fused", "exact"))
    assert (request.job.session, request.job.snapshot_id) == (job.session, job.snapshot_id)
    assert request.words == b"words"
    assert (task.shape, task.snapshot, task.method) == (
        shape,
        SNAPSHOT,
        Method("fused", "exact"),
    )
    assert (task.rule.verify_position, task.rule.one_subject) == (position, one_subject)
    assert (task.rule.margin, task.rule.mean_share) == (0.5, 0.25)


@pytest.mark.parametrize("rehearsal", [True, False])
def test_an_order_to_prepare_is_given_as_it_is(rehearsal):
    kind = Kind("snapshot", (4, 1, 8, 8), one_subject=True)
    order = Order(rehearsal, os.urandom(16), kind, os.urandom(16), (b"one", b"two"), 3, 5)
    assert worker.order_from_wire(worker.order_to_wire(order)) == order


@pytest.mark.parametrize("words", [b"", b"a coin"])
def test_an_exchange_of_an_audit_is_told_from_other_orders(words):
    order = Order(False, os.urandom(16), Kind("snapshot", (1, 4)), audit=words)
    assert worker.order_from_wire(worker.order_to_wire(order)) == order
    progress = Progress(State.STARTED, audit=words)
    assert worker.progress_from_wire(worker.progress_to_wire(progress)) == progress


@pytest.mark.parametrize("state", State)
def test_every_state_comes_back_as_it_is(state):
    progress = Progress(state, 3)
    assert worker.progress_from_wire(worker.progress_to_wire(progress)) == progress


def test_who_says_no_number_of_bundles_means_one():
    started = mpc_pb2.Prepared(state=mpc_pb2.Prepared.STARTED)
    assert worker.progress_from_wire(started) == Progress(State.STARTED, 1)
    assert worker.order_from_wire(mpc_pb2.Preparation()).bundles == 1


@pytest.mark.parametrize("number", [0, 99])
def test_a_state_that_is_not_known_counts_as_a_failure(number):
    assert worker.progress_from_wire(mpc_pb2.Prepared(state=number)).state is State.FAILED


def test_what_is_ready_comes_back_as_it_is():
    levels = (PoolLevel("digits", 1, 3, 4), PoolLevel("digits", 8, 0, 4))
    response = worker_pb2.KeepResponse(pools=edge.pool_levels_to_wire(levels))
    assert edge.kept_from_wire(response).levels == levels


@pytest.mark.parametrize(
    "response", [worker_pb2.RunResponse(words=bytes(8)), worker_pb2.RunResponse()]
)
def test_an_answer_without_shape_or_words_is_malformed(response):
    with pytest.raises(ShareError):
        edge.answer_from_wire(response)


@pytest.mark.parametrize("size", [0, 8, 24, 40])
def test_a_share_of_another_size_than_its_shape_is_refused(size):
    with pytest.raises(ShareError):
        worker.share_from_wire(bytes(size), (2, 2))
    assert worker.share_from_wire(bytes(32), (2, 2)).tolist() == [[0, 0], [0, 0]]


def test_shares_and_salts_have_no_repr():
    assert "secret" not in repr(AnswerBytes((1, 1), b"secret", Cost()))
    assert "secret" not in repr(ModelFile(Path("/shares/1"), "{}", b"secret"))
