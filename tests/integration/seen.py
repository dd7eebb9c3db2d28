"""A deployment whose servers serve metrics and log JSON, and what can be seen of it."""

import json
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from privedge.identity.roles import Identity, Role
from privedge.local.deployment import SERVERS, CohortSetting, Deployment
from privedge.user.checkpoint import Ran
from privedge.user.upload import send
from tests.integration.conftest import COHORT, MARGIN


class Seen:
    """A running deployment from outside."""

    def __init__(self, folder: Path, rans: list[Ran], settings: dict[str, Any]) -> None:
        cohorts = [CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16)]
        self.deployment = Deployment(folder, cohorts, settings)
        self.ports = {server: _free_port() for server in SERVERS}
        for server, port in self.ports.items():
            file = self.deployment.config_file(server)
            top, tables = 'log_format = "json"\n', f'[metrics]\nlisten = "127.0.0.1:{port}"\n'
            file.write_text(top + file.read_text() + tables)

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


@contextmanager
def seen(folder: Path, rans: list[Ran], settings: dict[str, Any]) -> Iterator[Seen]:
    """Running, with all models active."""
    found = Seen(folder, rans, settings)
    with found.deployment as running:
        for ran in rans:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])
