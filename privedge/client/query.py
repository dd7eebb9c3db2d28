"""Ask two parties whose picture this is: picture -> shares -> both parties -> answer.

    from privedge import Client

    with Client.from_file("privedge.toml") as client:
        reply = client.identify("face.png", cohort="faces")
        print(reply.answers[0].owner or "unknown")

Sees the client's own pictures and answers. Each party gets one share, which alone is uniformly
random, and returns one share of the answer; only here are the two added up.
"""

import os
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from time import perf_counter

from privedge.client.answers import Answer, read_answers
from privedge.client.exchange import Party, exchange
from privedge.config import ClientConfig, StrPath, load
from privedge.errors import (
    Closed,
    ImageError,
    ManifestMismatch,
    NotReady,
    SnapshotChanged,
    UnknownModel,
)
from privedge.identity.roles import Role
from privedge.ran import features
from privedge.ran.inputs import Pictures, given
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.channel import open_party, peer_name
from privedge.rpc.status import calls_to
from privedge.sharing.combine import combine
from privedge.sharing.cost import Cost
from privedge.sharing.fixed_point import encode
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT, Question, new_query_id
from privedge.sharing.ring import Words
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

# A cohort may change between asking what it is and asking the question.
_TRIES = 3


@dataclass(frozen=True)
class Cohort:
    """What both parties say a cohort is: public facts.

    name: how it is asked for.
    spec: the architecture of every model, and the size to which pictures are brought.
    margin, mean_share: the rule for "unknown". The best model answers if its error is below
        margin * ((1 - mean_share) * second best + mean_share * mean of all).
    owners: whose models are active, in the order of the answer vector.
    snapshot_id: names exactly these models; a query carries it.
    max_batch: how many pictures one question may hold; more are asked in several.
    """

    name: str
    spec: RanSpec
    margin: float
    owners: tuple[str, ...]
    snapshot_id: str
    max_batch: int
    mean_share: float = 0.0


@dataclass(frozen=True)
class Reply:
    """The answers to one batch of pictures, and what they cost.

    answers: one for each picture, in their order; one in all with `one_subject`.
    seconds: from sending both shares to adding the answer up.
    costs: party 0's and party 1's own account.
    bytes_sent, bytes_received: shares to and from both parties together.
    """

    answers: tuple[Answer, ...]
    seconds: float
    costs: tuple[Cost, Cost]
    bytes_sent: int
    bytes_received: int

    def plus(self, other: "Reply") -> "Reply":
        """Both together, as one reply."""
        first, second = (a.plus(b) for a, b in zip(self.costs, other.costs, strict=True))
        return Reply(
            self.answers + other.answers,
            self.seconds + other.seconds,
            (first, second),
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
        )


class Client:
    """A connection to both parties: a context manager, or call `close`.

    One client serves any number of threads at once. A process that was forked needs one of its own:
    the parent's raises Closed there.

    Example:
        with Client.from_file("privedge.toml") as client:
            print(client.cohorts())
            reply = client.identify("face.png", cohort="faces")
            print(reply.answers[0].owner or "unknown", f"{reply.seconds:.2f} s")
            yes = client.verify("face.png", "ana", cohort="faces").answers[0].owner == "ana"
    """

    def __init__(self, config: ClientConfig, *, encoder: StrPath | None = None) -> None:
        """Connections are made when they are first used.

        Args:
            config: where the parties are and whose certificate is shown to them.
            encoder: the public ONNX file, for cohorts whose feature map is one.

        Raises:
            ConfigError: the configuration cannot be used as it is.
            CertificateError: a certificate or key is missing, expired or of another kind.
        """
        self._encoder = None if encoder is None else Path(encoder)
        self._timeout_s = config.rpc_timeout_s
        self._cohorts: dict[str, Cohort] = {}
        self._process, self._open = os.getpid(), True
        roles = (Role.PARTY0, Role.PARTY1)
        self._channels = [open_party(config, role) for role in roles]
        self._parties = [
            Party(PartyStub(channel), peer_name(role, address))
            for channel, role, address in zip(
                self._channels, roles, (config.party0, config.party1), strict=True
            )
        ]

    @staticmethod
    def from_file(path: StrPath, *, encoder: StrPath | None = None) -> "Client":
        """As a configuration file says (TOML; `parties/samples/client.toml` is one).

        Args:
            path: the file; relative paths in it start at its folder.
            encoder: as in `Client`.

        Raises:
            ConfigError: the file is missing, is no TOML or has a wrong key.
            CertificateError: as in `Client`.
        """
        return Client(load(ClientConfig, path), encoder=encoder)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop both connections; questions that are being asked end with Unreachable."""
        self._open = False
        if self._process == os.getpid():  # they are not this process's to close
            for channel in self._channels:
                channel.close()

    def cohorts(self) -> tuple[str, ...]:
        """The names of the cohorts that both parties serve with one architecture, in order.

        Raises:
            NotAllowed: the certificate is for another role.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        self._require_usable()
        served = []
        for party in self._parties:
            with calls_to(party.name):
                said = party.stub.ListCohorts(pb.ListCohortsRequest(), timeout=self._timeout_s)
            served.append({(codec.cohort_name(row.name), row.spec_digest) for row in said.cohorts})
        return tuple(sorted(name for name, _ in served[0] & served[1]))

    def describe(self, cohort: str) -> Cohort:
        """Ask both parties what a cohort is.

        Args:
            cohort: its name.

        Returns:
            Its architecture, rule and owners.

        Raises:
            UnknownCohort: there is no such cohort.
            NotReady: the cohort has no active model yet.
            ManifestMismatch: the parties do not say the same, as for a moment while models change.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        self._require_usable()
        request = pb.DescribeCohortRequest(cohort=cohort)
        said = []
        for party in self._parties:
            with calls_to(party.name):
                said.append(party.stub.DescribeCohort(request, timeout=self._timeout_s))
        if said[0] != said[1]:
            raise ManifestMismatch(
                f"cohort {cohort}: the parties describe it differently; try again in a moment, "
                "and tell both operators if it stays so"
            )
        if not said[0].owners:
            raise NotReady(f"cohort {cohort}: no active model yet; upload one first")
        found = Cohort(
            name=cohort,
            spec=RanSpec.from_json(said[0].spec_json),
            margin=said[0].margin,
            owners=tuple(said[0].owners),
            snapshot_id=said[0].snapshot_id,
            max_batch=max(1, said[0].max_batch),
            mean_share=said[0].mean_share,
        )
        self._cohorts[cohort] = found
        return found

    def identify(self, images: Pictures, cohort: str, *, one_subject: bool = False) -> Reply:
        """Whose pictures are these?

        Args:
            images: a PNG or JPEG file, a folder of such files (in order of name), a picture of
                Pillow's, a list of files and such pictures, or an array: uint8, 0 to 255, of shape
                (n, H, W) for grey or (n, H, W, 3) for colour. One picture, (H, W) or (H, W, 3), is
                a batch of one. Any size; they are brought to the cohort's.
            cohort: whom to ask about.
            one_subject: all pictures, at most 32, show one subject; one answer comes.

        Returns:
            For each picture the owner whose model fits best, or None for unknown.

        Raises:
            ImageError: what is given are no pictures, with the line that converts them.
            Refused: whatever a party refuses with, such as UnknownCohort, NotReady, LimitExceeded,
                Unreachable or DeadlineExceeded; the message names the party.
            IntegrityError: the parties' shares do not add up to an answer.
            Closed: the client was closed, or belongs to a process that this one was forked from.
        """
        return self._ask(images, cohort, verify_owner=None, one_subject=one_subject)

    def verify(
        self, images: Pictures, owner: str, cohort: str, *, one_subject: bool = False
    ) -> Reply:
        """Are these pictures of one named owner? Yes, if that owner's model is the best of the
        cohort and passes its rule. The parties learn whom is asked about, but not the answer.

        Args:
            images, cohort, one_subject: as in `identify`.
            owner: whom is asked about.

        Returns:
            For each picture the owner, or None for no.

        Raises:
            UnknownModel: the cohort has no such owner.
            And what `identify` raises.
        """
        return self._ask(images, cohort, verify_owner=owner, one_subject=one_subject)

    def _require_usable(self) -> None:
        # gRPC's threads do not live on in a forked process: a call would wait for ever.
        if self._process != os.getpid():
            raise Closed(
                "this client belongs to the process that this one was forked from; "
                "make one after the fork"
            )
        if not self._open:
            raise Closed("this client is closed; make another one")

    def _ask(
        self, images: Pictures, name: str, *, verify_owner: str | None, one_subject: bool
    ) -> Reply:
        self._require_usable()
        spec, query = None, None
        for left in reversed(range(_TRIES)):
            cohort = self._cohorts.get(name) or self.describe(name)
            if verify_owner is not None and verify_owner not in cohort.owners:
                raise UnknownModel(f"cohort {name}: no owner {verify_owner} in it")
            if query is None or cohort.spec != spec:
                spec, query = cohort.spec, self._encoded(cohort.spec, images)
            try:
                return self._in_batches(cohort, query, verify_owner, one_subject)
            except SnapshotChanged:
                self._cohorts.pop(name, None)
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _encoded(self, spec: RanSpec, images: Pictures) -> Words:
        found = features.extract(spec, given(images, spec.image), encoder=self._encoder)
        return encode(found, what="query")

    def _in_batches(
        self, cohort: Cohort, query: Words, verify_owner: str | None, one_subject: bool
    ) -> Reply:
        """As few questions as the parties' limit allows; images of one subject stay together."""
        if one_subject and len(query) > MAX_IMAGES_OF_ONE_SUBJECT:
            raise ImageError(
                f"{len(query)} images of one subject: at most {MAX_IMAGES_OF_ONE_SUBJECT} work"
            )
        size = len(query) if one_subject else cohort.max_batch
        replies = []
        for start in range(0, len(query), size):
            part = query[start : start + size]
            question = Question(
                query_id=new_query_id(),
                cohort=cohort.name,
                snapshot_id=cohort.snapshot_id,
                shape=part.shape,
                verify_owner=verify_owner,
                one_subject=one_subject,
            )
            replies.append(self._exchange(question, part, cohort.owners))
        return reduce(Reply.plus, replies)

    def _exchange(self, question: Question, query: Words, owners: tuple[str, ...]) -> Reply:
        """Send both halves at once, wait for both, add the answers up."""
        started = perf_counter()
        first, second = exchange(self._parties, question, query, self._timeout_s)
        seconds = perf_counter() - started
        answers = read_answers(combine(first.words, second.words), owners, question)
        sent, received = 2 * query.nbytes, first.words.nbytes + second.words.nbytes
        return Reply(answers, seconds, (first.cost, second.cost), sent, received)
