"""The text that two workers compare before a run: equal in every language, and readable."""

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from parties.dealer_trust import DealerTrust
from parties.mpc.dealing import SessionId
from parties.wire import mpc_pb2_grpc, worker_pb2
from parties.worker import agreement, codec
from parties.worker.cancellation import Cancellation
from parties.worker.meeting import Acceptor, Agreement, Dialer, Greeting
from parties.worker.preprocessing.pool import Pool
from parties.worker.sessions import Sessions
from parties.worker.task import Method, Task
from privedge.errors import ManifestMismatch
from privedge.identity.roles import Role
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from privedge.rpc.versions import MPC
from tests.unit.mpc.models import SPECS

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/agreement.json").read_text())
SPEC = next(spec for spec in SPECS if spec.name == "subspace")
FACTS = {
    "snapshot": "5a" * 32,
    "spec_json": SPEC.to_json(),
    "shape": [2, *SPEC.input_shape],
    "margin": 0.8,
    "mean_share": 0.0,
    "one_subject": False,
    "verify_position": None,
    "engine": "fused",
    "rounding": "one-unit",
}
PATIENCE_S = 20


def task(**changes) -> Task:
    """As a front end's job and a party's configuration make it."""
    facts = FACTS | changes
    told = worker_pb2.Snapshot(
        id=facts["snapshot"],
        spec_json=facts["spec_json"],
        margin=facts["margin"],
        mean_share=facts["mean_share"],
        rivals=facts.get("rivals", b""),
        public_owners=facts.get("public_owners", 0),
    )
    snapshot = codec.snapshot_from_wire([told])
    job = worker_pb2.Job(shape=facts["shape"], one_subject=facts["one_subject"])
    if facts["verify_position"] is not None:
        job.verify_position = facts["verify_position"]
    return codec.task_from_wire(job, snapshot, Method(facts["engine"], facts["rounding"]))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_the_agreement_is_the_documented_one(case):
    given = task(**case["facts"])
    assert given.snapshot.spec == RanSpec.from_json(case["facts"]["spec_json"])
    assert given.facts() == case["text"]
    assert hashlib.sha256(case["text"].encode()).hexdigest() == case["sha256"]
    assert given.agreement().hex() == case["sha256"]


OTHER = {
    "snapshot": ("a5" * 32, "snapshot (5a5a5a5a5a5a here, a5a5a5a5a5a5 there)"),
    "shape": ([1, *SPEC.input_shape], "shape (2x8x4x4 here, 1x8x4x4 there)"),
    "margin": (0.7, "margin (0.8 here, 0.7 there)"),
    "mean_share": (0.35, "mean_share (0.0 here, 0.35 there)"),
    "one_subject": (True, "one_subject (False here, True there)"),
    "verify_position": (3, "verify_position"),
    "engine": ("crypten", "engine (fused here, crypten there)"),
    "rounding": ("exact", "rounding (one-unit here, exact there)"),
}


def test_rivals_are_part_of_the_agreement_only_where_there_are_any():
    rows = np.full((2, *SPEC.input_shape), 0.5, np.float32)
    rivals = Rivals.of(rows, SPEC.input_shape)
    mine, theirs = task(), task(rivals=rivals.to_bytes())
    assert "rivals" not in json.loads(mine.facts())
    assert json.loads(theirs.facts())["rivals"] == rivals.digest
    assert mine.agreement() != theirs.agreement()
    others = task(rivals=Rivals.of(rows * 2, SPEC.input_shape).to_bytes())
    assert agreement.disagreement(others.facts(), theirs.facts()).startswith("rivals (")


def test_public_owners_are_part_of_the_agreement_only_where_there_are_any():
    rivals = Rivals.of(np.full((2, *SPEC.input_shape), 0.5, np.float32), SPEC.input_shape)
    mine = task(rivals=rivals.to_bytes())
    theirs = task(rivals=rivals.to_bytes(), public_owners=2)
    assert "public_owners" not in json.loads(mine.facts())
    ahead = Task.of_kind(theirs.kind, theirs.snapshot, theirs.method)
    assert theirs.rule.public_owners == ahead.rule.public_owners == 2
    said = agreement.disagreement(theirs.facts(), mine.facts())
    assert said.startswith("public_owners (")


@pytest.mark.parametrize("name", OTHER)
def test_each_fact_is_part_of_the_agreement_and_named_when_it_differs(name):
    value, said = OTHER[name]
    mine, theirs = task(), task(**{name: value})
    assert mine.agreement() != theirs.agreement()
    assert agreement.disagreement(mine.facts(), theirs.facts()) == said


def test_another_architecture_is_named():
    other = next(spec for spec in SPECS if spec.name != "subspace")
    mine, theirs = task(), task(spec_json=other.to_json())
    said = agreement.disagreement(mine.facts(), theirs.facts())
    assert said == f"spec ({SPEC.digest()[:12]} here, {other.digest()[:12]} there)"


def test_margins_a_last_bit_apart_do_not_agree():
    assert task(margin=0.1 + 0.2).agreement() != task(margin=0.3).agreement()


@pytest.mark.parametrize("theirs", ["", "{", "[]", "0", '"text"', "[" * 4000, "{" + " " * 5000])
def test_a_text_that_is_none_names_nothing(theirs):
    assert agreement.disagreement(task().facts(), theirs) == ""


@pytest.mark.parametrize("evil", ["\x1b[2J\nevil", ["evil"], {"evil": 1}, 1.5, "EVIL", "evil " * 9])
def test_what_the_other_party_wrote_is_only_shown_as_a_word_or_number(evil):
    facts = json.loads(task().facts()) | {name: evil for name in OTHER}
    said = agreement.disagreement(task().facts(), json.dumps(facts))
    assert "rounding (one-unit here, something else there)" in said
    assert "evil" not in said and "EVIL" not in said and "\n" not in said


# --- Over a connection ----------------------------------------------------------------------------


class OnlyExchange(mpc_pb2_grpc.MpcServicer):
    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor

    def Exchange(self, request_iterator, context):
        return self._acceptor.exchange(request_iterator, context)


@pytest.fixture
def both(tls_for) -> Iterator[tuple[Sessions, Sessions]]:
    """Both workers' sessions, connected. Nobody is at the dealer's address."""
    acceptor = Acceptor()
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.PARTY1), access=ACCESS)
    mpc_pb2_grpc.add_MpcServicer_to_server(OnlyExchange(acceptor), server)
    server.start()
    with ExitStack() as stack:
        stack.callback(lambda: server.stop(None).wait())

        def channel(address: str, to: Role, role: Role) -> grpc.Channel:
            return stack.enter_context(open_channel(address, server=to, tls=tls_for(role)))

        peer = channel(f"127.0.0.1:{port}", Role.PARTY1, Role.PARTY0)
        meetings = (Dialer(mpc_pb2_grpc.MpcStub(peer)), acceptor)
        yield tuple(
            Sessions(
                party,
                channel("127.0.0.1:1", Role.DEALER, (Role.PARTY0, Role.PARTY1)[party]),
                meetings[party],
                Pool(1 << 20),
                keep=2,
                trust=DealerTrust(Path("/nowhere")),
            )
            for party in (0, 1)
        )


def refusals(both: tuple[Sessions, Sessions], *tasks: Task) -> list[BaseException | None]:
    run = SessionId(b"r" * 16)

    def side(party: int) -> None:
        threading.current_thread().name = f"party {party}"
        with both[party].open(run, tasks[party], Deadline.after(PATIENCE_S), Cancellation()):
            pass

    with ThreadPoolExecutor(2) as threads:
        return [each.exception(PATIENCE_S) for each in [threads.submit(side, p) for p in (0, 1)]]


def test_w60_workers_that_would_round_differently_both_name_it(both):
    errors = refusals(both, task(rounding="exact"), task())
    assert [type(error) for error in errors] == [ManifestMismatch] * 2
    assert [str(error) for error in errors] == [
        "the parties disagree on: rounding (exact here, one-unit there)",
        "the parties disagree on: rounding (one-unit here, exact there)",
    ]


def test_workers_of_two_protocols_both_name_it(both, monkeypatch):
    said = Agreement.greeting

    def another(agreement: Agreement, run: SessionId, bundle: bytes) -> Greeting:
        mine = said(agreement, run, bundle)
        return replace(mine, protocol=MPC + (threading.current_thread().name == "party 1"))

    monkeypatch.setattr(Agreement, "greeting", another)
    errors = refusals(both, task(), task())
    assert [str(error) for error in errors] == [
        f"the parties disagree on: protocol ({MPC} here, {MPC + 1} there)",
        f"the parties disagree on: protocol ({MPC + 1} here, {MPC} there)",
    ]
