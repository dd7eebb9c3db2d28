"""Dealer, party 0 and party 1 as separate processes on loopback, with mutual TLS.

One machine that holds both parties and the dealer protects nobody: this is for trying things out,
for measuring and for tests. It writes into one folder

    certs/        a development authority, and a certificate for every identity
    *.toml        the servers' configuration
    state/        the stores of both parties
    logs/         the log of each process

and starts `python -m parties` three times.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privedge import private_file
from privedge.config import ClientConfig, TlsFiles
from privedge.errors import Unreachable
from privedge.graph.spec import ModelSpec, is_model
from privedge.identity.certificates import create_authority, issue
from privedge.identity.roles import Identity, Role
from privedge.ran.feature_kinds import Encoder, Vector
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.rpc.channel import open_channel
from privedge.rpc.health import serves

_START_S = 90
_STOP_S = 20
SERVERS = (Role.DEALER, Role.PARTY1, Role.PARTY0)
# Nobody else asks here, and measurements ask a lot.
_NO_BUDGETS = {"budgets": {"labels_per_day": 0, "activations_per_hour": 0}}
# What cohorts of a model that is no RAN have of a CohortSetting.
_OF_MODELS = ("name", "clients", "owners", "budget")
_FILES = ("ca", "certificate", "key")
ADMIN = Identity(Role.ADMIN, "operator")


@dataclass(frozen=True)
class CohortSetting:
    """One [[cohorts]] table, the same at both parties. `clients` and `owners`: None for all.

    spec_json: the text of a spec file, in place of a preset; or that of a graph, with its outputs,
    for a model that is no RAN, of which only clients, owners and budget are looked at.
    rivals: the file of public rivals.
    telemetry, budget, model_check: the keys of its tables of these names; None for no such table.
    """

    name: str
    preset: str | None = None
    channels: int = 1
    margin: float = 1.0
    components: int | None = None
    size: int | None = None
    unit_length: bool | None = None
    mean_share: float = 0.0
    clients: tuple[str, ...] | None = None
    owners: tuple[str, ...] | None = None
    spec_json: str | None = None
    rivals: str | None = None
    telemetry: Mapping[str, Any] | None = None
    budget: Mapping[str, Any] | None = None
    enrolment_check: str = "off"
    enrolment_on_match: str = "report"
    enrolment_margin: float | None = None
    model_check: Mapping[str, Any] | None = None
    public_owners: int | None = None
    registrars: tuple[str, ...] | None = None
    # On one machine this is a trial.
    serve_one_owner: bool = True

    @staticmethod
    def of(
        spec: RanSpec, name: str, *, margin: float = 1.0, mean_share: float = 0.0
    ) -> "CohortSetting":
        """Return the table of a cohort whose models have this `spec`."""
        features = spec.features
        if isinstance(features, Encoder):
            return CohortSetting(
                name, margin=margin, mean_share=mean_share, spec_json=spec.to_json()
            )
        vector = features if isinstance(features, Vector) else None
        return CohortSetting(
            name,
            spec.name,
            channels=spec.image.channels if spec.image else 1,
            margin=margin,
            components=spec.components,
            size=vector.size if vector else None,
            unit_length=vector.unit_length if vector else None,
            mean_share=mean_share,
        )


class Deployment:
    """A running system. Use as a context manager."""

    def __init__(
        self,
        folder: Path,
        cohorts: list[CohortSetting],
        settings: dict[str, Any] | None = None,
        route: Callable[[str], str] = str,
        ports: Sequence[int] = (),
    ) -> None:
        """Write certificates and configuration into `folder`.

        `settings` are further top-level keys of both party files, such as `workers`; a dict is a
        table. `route` maps a server's address to the one that the other servers dial. `ports` are
        those of an earlier deployment, whose servers may still run; by default, free ports are
        chosen.
        """
        self.folder = folder.resolve()
        self._route = route
        self.processes: dict[Role, subprocess.Popen[bytes]] = {}
        self.ports = tuple(ports) or _free_ports(len(SERVERS) + 1)
        *servers, self.worker_port = self.ports
        self._ports = dict(zip(SERVERS, servers, strict=True))
        # Two parties that make their randomness themselves need no dealer.
        alone = (settings or {}).get("randomness") == "two-party"
        self.servers = tuple(each for each in SERVERS if not (alone and each is Role.DEALER))
        self._write_certificates()
        self._write_configs(cohorts, _NO_BUDGETS | (settings or {}))

    def __enter__(self) -> "Deployment":
        try:
            for server in self.servers:
                self.start(server)
            for server in self.servers:
                self.wait_ready(server)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, server: Role) -> None:
        """Start one server, without waiting for it."""
        with self.log_file(server).open("ab") as log:
            self.processes[server] = subprocess.Popen(
                self.command(server), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def command(self, server: Role) -> list[str]:
        """Return the command line that starts `server`."""
        kind = "dealer" if server is Role.DEALER else "party"
        return [sys.executable, "-m", "parties", kind, "--config", str(self.config_file(server))]

    def wait_ready(
        self, server: Role, runs: Callable[[], bool] | None = None, *, cause: str = ""
    ) -> None:
        """Return once the server reports that it serves, or that one `cause` of it is well.

        `runs` tells whether its process is running, if `start` did not start it. Raises Unreachable
        with the server's last log line.
        """
        channel = open_channel(self.address(server), server=server, tls=self.tls(ADMIN))
        service = "privedge.v1." + ("Dealer" if server is Role.DEALER else "Party")
        service += f"/{cause}" if cause else ""
        with closing(channel):
            for _ in range(_START_S):
                if serves(channel, service, within_s=1):
                    return
                if not (runs() if runs else self.processes[server].poll() is None):
                    break
        raise Unreachable(f"{server.label} did not start: {self.last_words(server)}")

    def stop(self) -> None:
        """End all servers, party 0 first, and wait for them."""
        for server in reversed(SERVERS):
            process = self.processes.get(server)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def address(self, server: Role) -> str:
        """Return the HOST:PORT of a server."""
        return f"127.0.0.1:{self._ports[server]}"

    def config_file(self, server: Role) -> Path:
        """Return the path of the server's TOML file."""
        return self.folder / f"{server}.toml"

    def log_file(self, server: Role) -> Path:
        """Return the path of the server's log."""
        return self.folder / "logs" / f"{server}.log"

    def tls(self, identity: Identity) -> TlsFiles:
        """Return the certificate files of `identity`; the first call issues them."""
        certs = self.folder / "certs"
        name = identity.name if identity.role.serves else f"{identity.role}-{identity.name}"
        if not (certs / f"{name}.crt").exists():
            issue(certs, identity)
        return TlsFiles(
            ca=certs / "ca.crt", certificate=certs / f"{name}.crt", key=certs / f"{name}.key"
        )

    def client_config(
        self,
        identity: Identity,
        *,
        rpc_timeout_s: float = 60,
        retries: int = 4,
        files: PublicFiles = NO_FILES,
    ) -> ClientConfig:
        """Return the configuration with which an owner, client or admin calls the parties.

        files: the public files that the caller needs.
        """
        return ClientConfig(
            party0=self.address(Role.PARTY0),
            party1=self.address(Role.PARTY1),
            tls=self.tls(identity),
            rpc_timeout_s=rpc_timeout_s,
            retries=retries,
            encoder=files.encoder,
            detector=files.detector,
        )

    def write_client_config(
        self, identity: Identity, path: Path | None = None, *, files: PublicFiles = NO_FILES
    ) -> Path:
        """Write the same configuration as a file; by default ROLE-NAME.toml in the folder.

        files: the public files that the client needs.
        """
        path = path or self.folder / f"{identity.role}-{identity.name}.toml"
        lines = [
            f"party0 = {json.dumps(self.address(Role.PARTY0))}",
            f"party1 = {json.dumps(self.address(Role.PARTY1))}",
            *_keys({key: value for key, value in files.to_dict().items() if value is not None}),
            *self._tls_table(identity),
        ]
        _write(path, lines)
        return path

    def last_words(self, server: Role) -> str:
        """Return the last line of a server's log, or say where the log is."""
        log = self.log_file(server)
        lines = (
            log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else ()
        )
        return lines[-1] if lines else f"see {log}"

    def _write_certificates(self) -> None:
        certs = self.folder / "certs"
        certs.mkdir(parents=True, exist_ok=True)
        (self.folder / "logs").mkdir(exist_ok=True)
        if not (certs / "ca.key").exists():
            create_authority(certs)
        for server in SERVERS:
            self.tls(Identity(server, server.value))

    def _write_configs(self, cohorts: list[CohortSetting], settings: dict[str, Any]) -> None:
        for server in self.servers:
            lines = _keys({"listen": self.address(server), "admins": [ADMIN.name]})
            if server is not Role.DEALER:
                lines += self._party_lines(server, settings)
            lines += self._tls_table(Identity(server, server.value))
            if server is not Role.DEALER:
                lines += [line for cohort in cohorts for line in self._cohort_table(cohort)]
            _write(self.config_file(server), lines)

    def _party_lines(self, server: Role, settings: dict[str, Any]) -> list[str]:
        leads = server is Role.PARTY0
        tables = {key: value for key, value in settings.items() if isinstance(value, dict)}
        plain = {key: value for key, value in settings.items() if key not in tables}
        workers = f"127.0.0.1:{self.worker_port}"
        mpc = {"address": self._route(workers)} if leads else {"listen": workers}
        tables["mpc"] = mpc
        if Role.DEALER in self.servers:
            tables["dealer"] = {"address": self._route(self.address(Role.DEALER))}
        if leads:
            tables["peer"] = {"address": self._route(self.address(Role.PARTY1))}
        return [
            f"index = {0 if leads else 1}",
            f'state = "state/{server}"',
            *_keys(plain),
            *(line for name, table in tables.items() for line in (f"[{name}]", *_keys(table))),
        ]

    def _cohort_table(self, cohort: CohortSetting) -> list[str]:
        fields = {key: value for key, value in vars(cohort).items() if value is not None}
        if text := fields.pop("spec_json", None):
            file = self.folder / f"{cohort.name}.spec.json"
            _write(file, [text])
            if is_model(json.loads(text)):
                outputs = ModelSpec.from_json(text).outputs.word
                kept = {key: fields[key] for key in fields if key in _OF_MODELS}
                fields = {**kept, "kind": "model", "graph": str(file), "outputs": outputs}
            else:
                fields["spec_file"] = str(file)
        tables = []
        for name in ("telemetry", "budget", "model_check"):
            if (table := fields.pop(name, None)) is not None:
                tables += [f"[cohorts.{name}]", *_keys(table)]
        return ["[[cohorts]]", *_keys(fields), *tables]

    def _tls_table(self, identity: Identity) -> list[str]:
        files = self.tls(identity)
        return ["[tls]", *_keys({key: str(getattr(files, key)) for key in _FILES})]


def _write(path: Path, lines: Sequence[str]) -> None:
    private_file.write(path, ("\n".join(lines) + "\n").encode())


def _keys(values: Mapping[str, Any]) -> list[str]:
    """Format values as TOML; strings, numbers and lists of them are written as in JSON."""
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


def _free_ports(count: int) -> tuple[int, ...]:
    """Return ports that are free now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return tuple(int(each.getsockname()[1]) for each in sockets)
