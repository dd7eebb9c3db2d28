"""What metrics, logs and traces of a running deployment show, and what they never show."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from PIL import Image

from privedge.errors import NotAllowed, Refused
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN
from privedge.rpc.channel import open_party
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc
from tests.integration.asking import CLIENT, PARTIES, client, status, until
from tests.integration.conftest import COHORT
from tests.integration.seen import Collector, seen

pytestmark = pytest.mark.mpc

SERVERS = (*PARTIES, Role.DEALER)
QUERY = {"service": "privedge.v1.Party", "method": "Query"}
CLIENTS = 8


@pytest.fixture(scope="module")
def collector():
    with pytest.MonkeyPatch.context() as environment, Collector() as running:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield running


@pytest.fixture(scope="module")
def outside(tmp_path_factory, rans, collector):
    """Without bundles: every query has a session with the dealer."""
    folder = tmp_path_factory.mktemp("seen")
    settings = {"pool": {"bundles": 0}, "batching": {"delay_ms": 100, "max_images": 2}}
    with seen(folder, rans, settings, collector) as found:
        yield found


# --- Metrics --------------------------------------------------------------------------------------


def test_c62_metrics_count_what_happens_under_load(outside, some_digits):
    def ask(number):
        asking.identify(some_digits.test_images[number : number + 1], COHORT)
        return [outside.scraped(server) for server in SERVERS]

    answered = {**QUERY, "code": "OK"}
    before = {party: outside.value(party, "privedge_calls_total", **answered) for party in PARTIES}
    with client(outside.deployment) as asking, ThreadPoolExecutor(CLIENTS) as threads:
        assert len(list(threads.map(ask, range(CLIENTS)))) == CLIENTS
    for party in PARTIES:
        calls = outside.value(party, "privedge_calls_total", **answered)
        assert calls - before[party] == CLIENTS
        measured = outside.value(party, "privedge_query_online_seconds_count", cohort=COHORT)
        assert measured == status(outside.deployment, party).queries_answered
        assert outside.value(party, "privedge_models", cohort=COHORT, state="active") == 10
        assert outside.value(party, "privedge_models", state="quarantined") == 0
        assert outside.value(party, "privedge_serving") == 1
        assert outside.value(party, "privedge_connected", server="peer") == 1
        assert outside.value(party, "privedge_disk_free_bytes") > 0
        assert outside.value(party, "privedge_worker_resident_memory_bytes", worker="0") > 1e8
        assert outside.value(party, "process_open_fds") > 10
        uploads = {"method": "UploadModel", "code": "OK"}
        assert outside.value(party, "privedge_calls_total", **uploads) == 10
    assert outside.value(Role.DEALER, "privedge_dealer_tuples_total") > 0
    deals = outside.value(Role.DEALER, "privedge_calls_total", method="Deal", code="OK")
    assert deals >= 2  # queries that wait together share a run
    assert outside.value(Role.DEALER, "privedge_dealer_sessions") == 0


def test_c62_no_metric_shows_a_secret_a_name_or_an_id(outside, rans, one_image):
    who = Identity(Role.CLIENT, "clara-of-the-labels")
    with client(outside.deployment, who=who) as asking:
        asking.identify(one_image, COHORT)
        owners = asking.describe(COHORT).owners
        with pytest.raises(Refused):
            asking.identify(one_image, "unheard-of-cohort")
    stub = party_pb2_grpc.PartyStub(
        open_party(outside.deployment.client_config(ADMIN), Role.PARTY0)
    )
    models = [row.model_id for row in stub.ListModels(pb.ListModelsRequest(), timeout=20).models]
    assert len(owners) == len(models) == len(rans)
    names = [
        *owners,
        *models,
        who.name,
        ADMIN.name,
        "unheard-of-cohort",
        str(outside.deployment.folder),
    ]
    for server in SERVERS:
        text = outside.scraped(server)
        assert not [name for name in names if name in text]
        labels = {
            (key, value)
            for family in outside.metrics(server).values()
            for sample in family.samples
            for key, value in sample.labels.items()
        }
        known = {
            "service", "method", "code", "cause", "places", "cohort", "state", "server", "release",
            "wire", "mpc", "worker", "images", "le", "file", "kind",
        }  # fmt: skip
        assert {key for key, _ in labels} <= known
        assert {value for key, value in labels if key == "cohort"} <= {COHORT}


def test_c01_refusals_and_failed_handshakes_are_counted_by_cause(outside, one_image):
    deployment = outside.deployment
    with client(deployment, who=Identity(Role.OWNER, "olaf")) as asking, pytest.raises(NotAllowed):
        asking.identify(one_image, COHORT)
    assert outside.value(Role.PARTY0, "privedge_refusals_total", cause="NotAllowed") >= 1
    assert outside.value(Role.PARTY0, "privedge_calls_total", code="PERMISSION_DENIED") >= 1
    context = ssl.create_default_context(cafile=deployment.tls(ADMIN).ca)
    context.set_alpn_protocols(["h2"])
    host, port = deployment.address(Role.PARTY0).split(":")
    with (
        socket.create_connection((host, int(port)), timeout=20) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(raw, server_hostname=Role.PARTY0.host) as wrapped,
    ):
        if not wrapped.recv(1):
            raise ConnectionError("closed")
    failed = "privedge_tls_handshakes_failed_total"
    until(lambda: outside.value(Role.PARTY0, failed, cause="no_certificate") == 1)


def test_w01_the_end_of_each_certificate_is_seen(outside):
    for server in SERVERS:
        path = outside.deployment.tls(Identity(server, server.value)).certificate
        ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        name = "privedge_certificate_remaining_seconds"
        left = outside.value(server, name, file="certificate")
        now = outside.value(server, "process_start_time_seconds")
        assert 0 < left < ends.timestamp() - now
        assert outside.value(server, name, file="ca") > left
        assert outside.value(server, "privedge_fault", cause="certificate") == 0


def test_w28_a_worker_that_is_replaced_is_seen(outside):
    restarts = "privedge_worker_restarts_total"
    assert outside.value(Role.PARTY1, restarts, worker="0") == 0
    assert outside.value(Role.PARTY1, "privedge_worker_heartbeat_age_seconds") < 10
    (pid,) = status(outside.deployment, Role.PARTY1).worker_pids
    os.kill(pid, signal.SIGKILL)
    until(lambda: outside.value(Role.PARTY1, restarts, worker="0") == 1)
    until(lambda: outside.value(Role.PARTY1, "privedge_worker_serves", worker="0") == 1)
    assert outside.value(Role.PARTY1, "privedge_fault", cause="worker") in (0, 1)


PROMTOOL = shutil.which("promtool")
OBSERVABILITY = Path(__file__).parents[2] / "deploy" / "observability"


def test_every_metric_of_the_dashboard_and_the_alerts_exists(outside):
    there = set()
    for server in SERVERS:
        for family in outside.metrics(server).values():
            ends = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
            there |= {family.name + end for end in ends.get(family.type, ("",))}
    rules = (OBSERVABILITY / "privedge.rules.yml").read_text()
    dashboard = json.loads((OBSERVABILITY / "privedge.dashboard.json").read_text())
    queries = "\n".join(
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    )
    for text in (rules, queries):
        wanted = set(re.findall(r"\b(?:privedge|process)_[a-z0-9_]+", text))
        assert len(wanted) > 10 and wanted <= there


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_finds_nothing_wrong_with_the_metrics(outside):
    for server in SERVERS:
        command = [PROMTOOL, "check", "metrics"]
        found = subprocess.run(
            command, input=outside.scraped(server), capture_output=True, text=True, timeout=60
        )
        assert (found.returncode, found.stdout + found.stderr) == (0, "")


# --- Logs -----------------------------------------------------------------------------------------

PROCESSES = ("party 0", "party 0 worker 0", "party 1", "party 1 worker 0", "dealer")


def about(outside, request_id):
    """The lines about one query, by process."""
    lines = [line for server in SERVERS for line in outside.lines(server)]
    found = [line for line in lines if request_id in line.get("request_id", ())]
    return {name: [line for line in found if line["server"] == name] for name in PROCESSES}


def test_one_id_runs_through_client_parties_workers_and_dealer(outside, one_image):
    with client(outside.deployment) as asking:
        (first,) = asking.identify(one_image, COHORT).request_ids
        (second,) = asking.identify(one_image, COHORT).request_ids
    assert first != second
    for request_id in (first, second):
        until(lambda id=request_id: all(about(outside, id).values()))


def test_a_run_of_several_queries_carries_all_their_ids(outside, one_image):
    with client(outside.deployment) as asking, ThreadPoolExecutor(2) as threads:

        def shared():
            replies = threads.map(lambda _: asking.identify(one_image, COHORT), range(2))
            ids = {request_id for reply in replies for request_id in reply.request_ids}
            return any(
                ids == set(line.get("request_id", ())) for line in outside.lines(Role.DEALER)
            )

        until(shared)


def test_an_error_has_the_id_under_which_the_servers_log_it(outside, one_image):
    owner = Identity(Role.OWNER, "olga")
    with client(outside.deployment, who=owner) as asking, pytest.raises(NotAllowed) as refusal:
        asking.identify(one_image, COHORT)
    request_id = refusal.value.request_id
    assert len(request_id) == 32 and str(refusal.value).endswith(f"(request {request_id})")
    lines = [line for party in PARTIES for line in outside.lines(party)]
    refused = [line for line in lines if line.get("request_id") == request_id]
    assert refused and all("PERMISSION_DENIED" in line["message"] for line in refused)


def test_every_line_that_names_a_query_has_its_id_apart(outside):
    lines = [line for server in SERVERS for line in outside.lines(server)]
    named = [line for line in lines if re.search(r"quer(y|ies) [0-9a-f]{32}", line["message"])]
    assert named and all(line.get("request_id") for line in named)
    assert {line["server"] for line in lines} == set(PROCESSES)
    assert all({"time", "level", "logger"} <= set(line) for line in lines)


# --- Traces ---------------------------------------------------------------------------------------

CLIENT_CODE = """
import sys
from privedge import Client
with Client.from_file(sys.argv[1]) as client:
    client.identify(sys.argv[2], cohort=sys.argv[3])
"""


def test_a_trace_of_each_party_with_workers_and_dealer_is_linked_to_the_client(
    outside, collector, some_digits, tmp_path
):
    """In a process of its own: a process begins once to send traces."""
    picture, file = tmp_path / "picture.png", tmp_path / "client.toml"
    Image.fromarray(some_digits.test_images[0]).save(picture)
    written = outside.deployment.write_client_config(CLIENT, file)
    written.write_text(written.read_text() + f'[traces]\nendpoint = "{collector.endpoint}"\n')
    since = time.time_ns()
    command = [sys.executable, "-c", CLIENT_CODE, written, picture, COHORT]
    subprocess.run(command, check=True, timeout=120)
    ((process, client_query),) = collector.traces(1, 1, "client query", since)[0]
    assert process == "privedge client" and not client_query.links
    found = collector.traces(2, 4, "party query", since)
    names = {
        span.span_id: (process.removeprefix("privedge "), span.name)
        for spans in found
        for process, span in spans
    }
    trees = [
        {
            (*names[span.span_id], names.get(span.parent_span_id, ("nobody", ""))[1])
            for _, span in spans
        }
        for spans in found
    ]
    for n in (0, 1):
        assert {
            (f"party {n}", "party query", ""),
            (f"party {n}", "party run", "party query"),
            (f"party {n} worker 0", "worker run", "party run"),
            ("dealer", "dealer session", "worker run"),
        } in trees
    for _, span in (each for spans in found for each in spans):
        links = [link.span_id for link in span.links]
        assert links == ([client_query.span_id] if span.name == "party query" else [])
        assert not span.events


def test_c62_spans_hold_sizes_and_cohorts_only(outside, collector, one_image):
    with client(outside.deployment) as asking, pytest.raises(Refused):
        asking.identify(one_image, "unheard-of-cohort")
    found = {each.key for _, span in collector.spans for each in span.attributes}
    assert found == {"cohort", "images", "queries", "party"}
    text = " ".join(str(span) for _, span in collector.spans)
    names = [f"digit-{digit}" for digit in range(10)]
    assert not [name for name in (*names, CLIENT.name, ADMIN.name) if name in text]
