"""The model service of a party as a server: in this process, or by `python model_server.py CONFIG`.

A child process inherits the minimum TLS version of the tests (rpc/tls_floor.py) by its
environment.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from parties.config.party import PartyConfig
from parties.party.audit.files import FOLDER
from parties.party.audit.heads import PeerHeads
from parties.party.edge.hello import Hello
from parties.party.edge.party_servicer import PartyServicer
from parties.party.edge.peer import PeerClient
from parties.party.edge.peer_servicer import PeerServicer
from parties.party.edge.signer import Signer
from parties.party.models.service import ModelService
from parties.party.models.state_folder import open_models
from parties.party.models.synchroniser import Synchroniser
from parties.party.queries.counters import QueryCounters
from parties.party.terms import of_party
from parties.serving.handshake import Handshake
from privedge.config import ClientConfig, TlsFiles
from privedge.errors import NotReady
from privedge.identity.roles import Role
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.about import add_about
from privedge.rpc.access import ACCESS, CallerRules
from privedge.rpc.channel import open_channel, peer_name
from privedge.rpc.server import build_server
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub, add_PartyServicer_to_server
from privedge.wire.peer_pb2_grpc import PeerStub, add_PeerServicer_to_server

COHORT = "digits"
# 12 KB a share.
COHORT_SECTION = {"name": COHORT, "preset": "subspace32", "components": 2}
SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
TIMEOUT_S = 20
# Of all uploads made here: who sends one half again, or a wrong one, need not look them up.
SALTS = (new_salt(), new_salt())


# --- Servers --------------------------------------------------------------------------------------


class NoQueries:
    """The query half of a party that takes no queries."""

    deadline_s = TIMEOUT_S

    def answered(self, read, name, deadline, client):
        raise NotReady("no queries here")

    def counters(self):
        return QueryCounters(
            answered=0, failed=0, running=0, runs=0, bytes_received=0, worker_pids=()
        )


class NoOrders:
    """What party 1 has to say to an order when it takes no queries."""

    def order(self, run):
        raise NotReady("no queries here")

    def refuse(self, query_id):
        raise NotReady("no queries here")

    def changes(self, watcher):
        raise NotReady("no queries here")


@contextmanager
def serve(config: PartyConfig) -> Iterator[tuple[ModelService, int]]:
    """A running party without workers, and its port."""
    with ExitStack() as stack:
        peer = None
        if config.peer is not None:
            address = config.peer.address
            channel = open_channel(address, server=Role.PARTY1, tls=config.tls)
            stub = PeerStub(stack.enter_context(channel))
            peer = PeerClient(stub, peer_name(Role.PARTY1, address))
        models = stack.enter_context(open_models(config, peer))
        terms = of_party(config, models.cohorts.values())
        hello = Hello(terms, Handshake(), models.standing)
        rules = CallerRules(admins=frozenset(config.admins) or None)
        server, port = build_server(config.listen, tls=config.tls, access=ACCESS, rules=rules)
        servicer = PartyServicer(models, NoQueries(), hello.handshake, sign=Signer(config.tls))
        add_PartyServicer_to_server(servicer, server)
        if peer is None:
            heads = PeerHeads(models.audit, config.state / FOLDER, 0)
            add_PeerServicer_to_server(PeerServicer(models, NoOrders(), hello, heads), server)
        else:
            synchroniser = Synchroniser(models)
            synchroniser.start()
            stack.callback(synchroniser.stop)
        add_about(server)
        server.start()
        stack.callback(lambda: server.stop(grace=None).wait())
        yield models, port


def settings(
    folder: Path,
    index: int,
    tls: TlsFiles,
    *,
    peer_port: int = 1,
    admins: tuple[str, ...] = (),
    **limits,
) -> PartyConfig:
    """A party of one small cohort, on a free loopback port. No `admins`: every admin may call."""
    mpc = {"address" if index == 0 else "listen": "127.0.0.1:1"}
    fields = {
        "index": index,
        "listen": "127.0.0.1:0",
        "state": folder / f"party{index}",
        "tls": tls,
        "mpc": mpc,
        "dealer": {"address": "127.0.0.1:1"},
        "limits": limits,
        "cohorts": [COHORT_SECTION],
        "admins": admins,
    }
    if index == 0:
        fields["peer"] = {"address": f"127.0.0.1:{peer_port}"}
    return PartyConfig.model_validate(fields)


class ServerProcess:
    """A party in a process of its own, to be killed and started again on the same port."""

    def __init__(self, config: PartyConfig, path: Path) -> None:
        self.config, self._path = config, path
        self.port = 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it serves."""
        config = self.config.model_copy(update={"listen": f"127.0.0.1:{self.port}"})
        self._path.write_text(config.model_dump_json())
        command = [sys.executable, __file__, str(self._path)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline()
        assert line, "the server did not start"
        self.port = int(line)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()


# --- Callers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Upload:
    """A manifest and both parties' raw shares."""

    manifest: ModelManifest
    raw: tuple[bytes, bytes]

    @property
    def model_id(self) -> str:
        return self.manifest.model_id


def an_upload(owner: str = "ana", *, model_id: str | None = None, spec: RanSpec = SPEC) -> Upload:
    """Random shares of the cohort's architecture."""
    entries, parts = [], ([], [])
    for name, shape in spec.parameters().items():
        size = TensorEntry(name, shape, ("", "")).share_bytes
        shares = (os.urandom(size), os.urandom(size))
        entries.append(TensorEntry(name, shape, commitments(name, shares)))
        parts[0].append(shares[0])
        parts[1].append(shares[1])
    digest = spec.digest()
    manifest = ModelManifest(model_id or new_model_id(), COHORT, owner, digest, tuple(entries))
    return Upload(manifest, (b"".join(parts[0]), b"".join(parts[1])))


def commitments(name: str, shares: tuple[bytes, bytes]) -> tuple[str, str]:
    """To each party's share of one tensor."""
    committed = [commitment(salt, name) for salt in SALTS]
    for each, share in zip(committed, shares, strict=True):
        each.update(share)
    return committed[0].hexdigest(), committed[1].hexdigest()


def requests(
    manifest: ModelManifest, *chunks: bytes, salt: bytes = SALTS[0]
) -> Iterator[pb.UploadModelRequest]:
    """An upload stream; to party 0, unless `salt` is another one's."""
    header = UploadHeader(manifest, salt)
    yield pb.UploadModelRequest(header=codec.upload_header_to_wire(header))
    for chunk in chunks:
        yield pb.UploadModelRequest(words=chunk)


class Pair:
    """Both parties in this process, with mutual TLS."""

    def __init__(
        self, folder: Path, tls_for: Callable[..., TlsFiles], stack: ExitStack, **limits
    ) -> None:
        self.folder, self._tls_for, self._stack = folder, tls_for, stack
        self._follower = settings(folder, 1, tls_for(Role.PARTY1), **limits)
        self._of_party_1 = stack.enter_context(ExitStack())
        models_1, port_1 = self._of_party_1.enter_context(serve(self._follower))
        leader = settings(folder, 0, tls_for(Role.PARTY0), peer_port=port_1, **limits)
        models_0, port_0 = stack.enter_context(serve(leader))
        self.models, self.ports = (models_0, models_1), (port_0, port_1)

    def stop_party_1(self) -> None:
        """End party 1; party 0 goes on."""
        self._of_party_1.close()

    def start_party_1(self) -> None:
        """Start it again, on the same state and port."""
        listen = f"127.0.0.1:{self.ports[1]}"
        again = self._follower.model_copy(update={"listen": listen})
        models_1, _ = self._of_party_1.enter_context(serve(again))
        self.models = (self.models[0], models_1)

    def client_config(self, role: Role = Role.OWNER, name: str = "ana") -> ClientConfig:
        """How somebody reaches both."""
        return ClientConfig(
            party0=f"127.0.0.1:{self.ports[0]}",
            party1=f"127.0.0.1:{self.ports[1]}",
            tls=self._tls_for(role, name),
            rpc_timeout_s=TIMEOUT_S,
        )

    def stub(self, party: int, role: Role = Role.OWNER, name: str = "ana") -> PartyStub:
        """A raw connection as somebody."""
        server = (Role.PARTY0, Role.PARTY1)[party]
        channel = open_channel(
            f"127.0.0.1:{self.ports[party]}", server=server, tls=self._tls_for(role, name)
        )
        return PartyStub(self._stack.enter_context(channel))

    def upload(self, upload: Upload, party: int) -> pb.UploadModelResponse:
        """Send one half, as its owner."""
        stub = self.stub(party, name=upload.manifest.owner)
        body = requests(upload.manifest, upload.raw[party], salt=SALTS[party])
        return stub.UploadModel(body, timeout=TIMEOUT_S)

    def files(self, party: int) -> list[str]:
        """What is in a party's share folder."""
        return sorted(path.name for path in (self.folder / f"party{party}/shares").iterdir())


def main() -> None:
    """Serve until killed; the port is the one line printed."""
    config = PartyConfig.model_validate_json(Path(sys.argv[1]).read_text())
    with serve(config) as (_, port):
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        signal.pause()


if __name__ == "__main__":
    main()
