"""W-70, W-71: cohorts of more models than fit one message, through activation, restart and lists.

The quick test lowers the limit of a message, and what else is as large as one; the slow one has
120,000 models and the limit of every deployment.
"""

from contextlib import ExitStack

import grpc
import pytest
from large_cohort import COHORT, SECTION, fill, made_up
from model_server import serve, settings

from parties.config.party import PartyConfig
from parties.party.edge import codec as edge_codec
from parties.party.edge import parts_codec, party_servicer
from parties.party.models import parts, reading
from parties.party.models.quarantine import Quarantine
from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.identity import owners
from privedge.identity.roles import Role
from privedge.rpc import channel
from privedge.user import models
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

WITHIN_S = 300


class Both:
    """Both parties over filled state folders, and what their list cost on the wire."""

    def __init__(self, folder, tls_for, count, stack, patch):
        self._tls_for, self._stack = tls_for, stack
        self._configs = tuple(
            PartyConfig.model_validate(
                settings(folder, index, tls_for(Role.party(index))).model_dump()
                | {"cohorts": [SECTION]}
            )
            for index in (0, 1)
        )
        fill(self._configs, count)
        self.sent = []
        encode = parts_codec.parts_to_wire

        def counted(*args):
            for message in encode(*args):
                self.sent.append(message.ByteSize())
                yield message

        patch.setattr(parts_codec, "parts_to_wire", counted)
        self._running = stack.enter_context(ExitStack())
        self.start()

    def start(self):
        follower, port = self._running.enter_context(serve(self._configs[1]))
        peer = {"peer": {"address": f"127.0.0.1:{port}"}}
        leading = PartyConfig.model_validate(self._configs[0].model_dump() | peer)
        leader, port_0 = self._running.enter_context(serve(leading))
        self.models, self.ports = (leader, follower), (port_0, port)

    def restart(self):
        self._running.close()
        self.start()

    def synchronised(self):
        """The bytes that one synchronisation sends; afterwards both have the same snapshot."""
        leader, follower = self.models
        leader.synchronise()  # also waits for the one of the start
        self.sent.clear()
        leader.synchronise()
        assert follower.snapshot(COHORT).id == leader.snapshot(COHORT).id
        return sum(self.sent)

    def config(self, role, name):
        return ClientConfig(
            party0=f"127.0.0.1:{self.ports[0]}",
            party1=f"127.0.0.1:{self.ports[1]}",
            tls=self._tls_for(role, name),
            rpc_timeout_s=WITHIN_S,
        )

    def stub(self, party, role, name):
        opened = channel.open_party(self.config(role, name), Role.party(party))
        return PartyStub(self._stack.enter_context(opened))


@pytest.fixture
def both(tmp_path, tls_for, monkeypatch):
    with ExitStack() as stack:
        yield lambda count: Both(tmp_path, tls_for, count, stack, monkeypatch)


@pytest.fixture
def low_limits(monkeypatch):
    """As if a message held 16 KiB."""
    for module in (channel, party_servicer):
        monkeypatch.setattr(module, "MAX_MESSAGE_BYTES", 16 << 10)
    monkeypatch.setattr(parts, "PART_MODELS", 64)
    monkeypatch.setattr(parts_codec, "_LISTED_AT_ONCE", 100)
    monkeypatch.setattr(edge_codec, "MOST_IDS", 300)
    monkeypatch.setattr(reading, "MAX_LISTED", 70)
    monkeypatch.setattr(party_servicer, "MAX_LISTED", 70)
    monkeypatch.setattr(party_servicer, "_MOST_LINES", 20)
    monkeypatch.setattr(owners, "_PAGE_BYTES", 4 << 10)


def test_w70_a_cohort_larger_than_a_message_is_activated_restarted_and_listed(low_limits, both):
    _goes_through_everything(both(1500), 1500, few_bytes=3000)


@pytest.mark.slow
def test_w70_120_000_models_are_activated_restarted_and_listed(both):
    _goes_through_everything(both(120_000), 120_000, few_bytes=50_000)


def _goes_through_everything(running, count, few_bytes):
    expected = tuple(made_up(number).manifest.owner for number in range(count))
    # 1. Party 1, which had activated none of them, follows the whole list.
    assert running.synchronised() < few_bytes
    assert running.models[1].snapshot(COHORT).owners == expected
    # 2. After a restart of both, no model crosses; one that differs brings its part with it.
    running.restart()
    assert running.synchronised() < few_bytes
    one = running.models[1].snapshot(COHORT).models[count // 2]
    running.models[1]._registry.quarantine(COHORT, {one.model_id}, release=False)
    running.models[1]._snapshots.changed()
    running.sent.clear()
    running.models[0].synchronise()
    assert few_bytes // 4 < sum(running.sent) < 102 * count // 4
    assert running.models[1].snapshot(COHORT).owners == expected
    # 3. A client has all names, and an admin all models, each once.
    with Client(running.config(Role.CLIENT, "cy")) as client:
        assert client.describe(COHORT).owners == expected
    listed = models.listed(running.config(Role.ADMIN, "root"), COHORT)
    assert sorted(row.owner for row in listed) == list(expected)
    times = [row.created_at for row in listed]
    assert times == sorted(times, reverse=True)


def test_w71_a_caller_that_asks_for_no_pages_is_told_all_or_refused(low_limits, both):
    running = both(1500)
    running.synchronised()
    client = running.stub(0, Role.CLIENT, "cy")
    with pytest.raises(grpc.RpcError) as refused:
        client.DescribeCohort(pb.DescribeCohortRequest(cohort=COHORT), timeout=WITHIN_S)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    page = running.stub(0, Role.ADMIN, "root").ListModels(pb.ListModelsRequest(), timeout=WITHIN_S)
    assert len(page.models) == 70


def test_w71_names_of_another_snapshot_are_not_mixed(low_limits, both):
    running = both(10)
    running.synchronised()
    request = pb.ListOwnersRequest(cohort=COHORT, snapshot_id="0" * 64)
    with pytest.raises(grpc.RpcError) as refused:
        running.stub(0, Role.CLIENT, "cy").ListOwners(request, timeout=WITHIN_S)
    assert refused.value.code() is grpc.StatusCode.ABORTED


def test_w71_a_status_says_how_many_lines_it_leaves_out(low_limits, both, monkeypatch):
    running = both(10)
    lines = tuple(f"model {number}: quarantined" for number in range(50))
    monkeypatch.setattr(Quarantine, "lines", lines)
    admin = running.stub(0, Role.ADMIN, "root")
    told = admin.Status(pb.StatusRequest(), timeout=WITHIN_S).quarantined
    assert list(told) == [*lines[:20], "and 30 more; `privedge models list` has all"]
