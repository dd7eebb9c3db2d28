"""Two party servers that combine their shares: real answers within milliseconds.

A client sends and receives what it would with real parties. A test can also script the answers.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from privedge.config import ClientConfig
from privedge.errors import Unreachable
from privedge.identity.owners import owners_sha256
from privedge.ran import features
from privedge.ran.presets import preset
from privedge.rpc import codec
from privedge.rpc.access import ACCESS
from privedge.rpc.admission import Quota
from privedge.rpc.server import build_server
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import Words, from_bytes, to_bytes
from privedge.sharing.split import split
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc

COHORT = "faces"
SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
NAMES = ("ana", "bo", "cleo", "dora")
# One picture of each owner, which is also the owner's model here.
PICTURES = np.random.default_rng(1).integers(0, 256, (4, 32, 32), dtype=np.uint8)
_MODELS = encode(features.extract(SPEC, PICTURES)).reshape(4, -1)
_WITHIN_S = 20
QUOTAS = {"/privedge.v1.Party/Query": Quota("queries", at_once=256, per_caller=64)}

Behaviour = Callable[[pb.QueryHeader, object], None]


Answered = Callable[[pb.QueryHeader, Words], Words]


class Table:
    """Where both parties put their shares of a query."""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self._come = threading.Condition()
        self._shares: dict[bytes, dict[int, Words]] = {}
        self._answers: dict[bytes, tuple[Words, Words]] = {}

    def answer(self, party: int, header: pb.QueryHeader, share: Words) -> Words:
        """This party's share of the answer."""
        key = header.query_id
        with self._come:
            shares = self._shares.setdefault(key, {})
            shares[party] = share
            if len(shares) == 2:
                self._answers[key] = split(self._answered(header, combine(shares[0], shares[1])))
                self._come.notify_all()
            elif not self._come.wait_for(lambda: key in self._answers, _WITHIN_S):
                raise Unreachable("the other share never came")
        return self._answers[key][party]


def _one_hot(header: pb.QueryHeader, query: Words) -> Words:
    """Who is it? A picture that is nobody's own is unknown."""
    same = (query.reshape(len(query), 1, -1) == _MODELS[None]).all(2)
    if header.WhichOneof("question") == "verify":
        same = same[:, [NAMES.index(header.verify.owner)]]
    return same.astype(np.uint64)


class OpenParty(party_pb2_grpc.PartyServicer):
    """One of them. `before`: called with every query's header and context before it is answered."""

    def __init__(self, index: int, table: Table) -> None:
        self.index, self._table = index, table
        self.before: Behaviour = lambda header, context: None
        self.cohorts = {COHORT: SPEC.digest()}
        # Names, by how many there are before each page; None to tell them with the description.
        self.pages: dict[int, tuple[str, ...]] | None = None
        self.queries = 0

    def ListCohorts(self, request, context):
        rows = [pb.CohortRow(name=name, spec_digest=said) for name, said in self.cohorts.items()]
        return pb.ListCohortsResponse(cohorts=rows)

    def DescribeCohort(self, request, context):
        said = pb.DescribeCohortResponse(
            spec_json=SPEC.to_json(), margin=0.9, snapshot_id="s", max_batch=3
        )
        if self.pages is None:  # as an older release
            said.owners.extend(NAMES)
        else:
            said.owner_count, said.owners_sha256 = len(NAMES), owners_sha256(NAMES)
        return said

    def ListOwners(self, request, context):
        assert request.snapshot_id == "s"
        return pb.ListOwnersResponse(owners=self.pages.get(request.start, ()))

    def Query(self, request_iterator, context):
        header = next(request_iterator).header
        raw = b"".join(request.words for request in request_iterator)
        self.queries += 1
        self.before(header, context)
        answer = self._table.answer(self.index, header, from_bytes(raw, tuple(header.shape)))
        cost = codec.cost_to_wire(codec.cost_from_wire(pb.Cost()))
        yield pb.QueryResponse(header=pb.AnswerHeader(shape=answer.shape, cost=cost))
        yield pb.QueryResponse(words=to_bytes(answer))


class Parties:
    """Both servers, and how to reach them."""

    def __init__(self, ports: list[int], servicers: list[OpenParty]) -> None:
        self.servicers = servicers
        self.config = ClientConfig(
            party0=f"127.0.0.1:{ports[0]}",
            party1=f"127.0.0.1:{ports[1]}",
            insecure_loopback=True,
            role="client",
            name="carla",
            rpc_timeout_s=_WITHIN_S,
        )

    def config_file(self, folder: Path) -> Path:
        """The same as a file."""
        path = folder / "privedge.toml"
        path.write_text(
            f'party0 = "{self.config.party0}"\nparty1 = "{self.config.party1}"\n'
            'insecure_loopback = true\nrole = "client"\nname = "carla"\n'
            f"rpc_timeout_s = {_WITHIN_S}\n"
        )
        return path


@contextmanager
def serving(kind: type[OpenParty] = OpenParty, answered: Answered = _one_hot) -> Iterator[Parties]:
    """Both, until the block ends. `answered`: the words of the right answer to a query."""
    table, ports, servicers = Table(answered), [], []
    with ExitStack() as stack:
        for index in range(2):
            server, port = build_server("127.0.0.1:0", tls=None, access=ACCESS, quotas=QUOTAS)
            servicers.append(kind(index, table))
            party_pb2_grpc.add_PartyServicer_to_server(servicers[-1], server)
            server.start()
            stack.callback(lambda server=server: server.stop(None).wait())
            ports.append(port)
        yield Parties(ports, servicers)
