"""A deployment whose servers serve metrics and log JSON, and what can be seen of it."""

import gzip
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from privedge.identity.roles import Identity, Role
from privedge.local.deployment import SERVERS, CohortSetting, Deployment
from privedge.user.checkpoint import Ran
from privedge.user.upload import send
from tests.integration.conftest import COHORT, MARGIN


class Seen:
    """A running deployment from outside."""

    def __init__(self, folder: Path, settings: dict[str, Any], collector: str) -> None:
        cohorts = [CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16)]
        self.deployment = Deployment(folder, cohorts, settings)
        self.ports = {server: _free_port() for server in SERVERS}
        for server, port in self.ports.items():
            file = self.deployment.config_file(server)
            tables = f'[metrics]\nlisten = "127.0.0.1:{port}"\n[traces]\nendpoint = "{collector}"\n'
            file.write_text('log_format = "json"\n' + file.read_text() + tables)

    def scraped(self, server: Role) -> str:
        """What Prometheus reads."""
        url = f"http://127.0.0.1:{self.ports[server]}/metrics"
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.read().decode()

    def metrics(self, server: Role) -> dict[str, Metric]:
        """By name, as Prometheus understands them."""
        return {each.name: each for each in text_string_to_metric_families(self.scraped(server))}

    def value(self, server: Role, name: str, /, **labels: str) -> float:
        """The sum of all samples of that name with these labels."""
        return sum(
            sample.value
            for family in self.metrics(server).values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def lines(self, server: Role) -> list[dict[str, Any]]:
        """Its log, line by line."""
        return [
            json.loads(line) for line in self.deployment.log_file(server).read_text().splitlines()
        ]


class Collector:
    """What an OpenTelemetry collector is to those who send: OTLP over HTTP. Use as a context
    manager. `spans` are (process, span), as they come.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.receive(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "Collector":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def receive(self, message: ExportTraceServiceRequest) -> None:
        """Keep the spans of one message."""
        with self._changed:
            for resource in message.resource_spans:
                facts = {each.key: each.value.string_value for each in resource.resource.attributes}
                self.spans += [
                    (facts["service.name"], span)
                    for scope in resource.scope_spans
                    for span in scope.spans
                ]
            self._changed.notify_all()

    def traces(self, count: int, size: int, name: str, since: int) -> list[list[tuple[str, Span]]]:
        """Wait for `count` traces of `size` spans whose first one has this name and began after
        `since` (nanoseconds since 1970).
        """

        def found() -> list[list[tuple[str, Span]]]:
            roots = {
                span.trace_id
                for _, span in self.spans
                if span.name == name and span.start_time_unix_nano > since
            }
            traces = [[each for each in self.spans if each[1].trace_id == root] for root in roots]
            full = [spans for spans in traces if len(spans) == size]
            return full if len(full) == count else []

        with self._changed:
            assert self._changed.wait_for(found, 60), [span.name for _, span in self.spans]
            return found()


@contextmanager
def seen(
    folder: Path, rans: list[Ran], settings: dict[str, Any], collector: Collector
) -> Iterator[Seen]:
    """Running, with all models active."""
    found = Seen(folder, settings, collector.endpoint)
    with found.deployment as running:
        for ran in rans:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])
