"""Ask both parties which owner a picture shows: picture -> shares -> both parties -> answer.

    from privedge import Client

    with Client.from_file("privedge.toml") as client:
        reply = client.identify("face.png", cohort="faces")
        print(reply.answers[0].owner or "unknown")

Sees the client's own pictures and answers. Each party receives one share, which alone is uniformly
random, and returns one share of the answer. Only the client adds the two shares up.

A call is made again, with a fresh query id, if a party was too busy for it or away for a moment.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from time import perf_counter
from typing import Any, TypeVar

from privedge import traces
from privedge.arrays import is_pixels
from privedge.client import canaries, predictions
from privedge.client.answers import Reply, answer_shape, read_answers
from privedge.client.canaries import Canaries, Doubt, unsettled
from privedge.client.cohort import Cohort, agreed_rivals
from privedge.client.described import described
from privedge.client.exchange import Asked, Party, exchange
from privedge.client.predictions import Predictions, Predictor
from privedge.config import ClientConfig, Integrity, StrPath, load
from privedge.errors import (
    Closed,
    ImageError,
    IntegrityError,
    PrivEdgeError,
    SnapshotChanged,
    UnknownModel,
)
from privedge.identity.roles import Role
from privedge.ran import features, narrow, quality
from privedge.ran.alignment import aligner_for
from privedge.ran.any_spec import of_rans
from privedge.ran.inputs import Source, asked
from privedge.ran.public_files import PublicFiles
from privedge.ran.quality import Care
from privedge.ran.quality import require_known as require_care
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.channel import open_party, peer_name
from privedge.rpc.retry import Patience, retried, told
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT, Question, new_query_id
from privedge.sharing.ring import Words
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

T = TypeVar("T")

# A cohort may change between the call that describes it and the query.
_TRIES = 3


class Client:
    """A connection to both parties. Use it as a context manager, or call `close`.

    Any number of threads may share one client. A forked process needs a new client: the parent's
    client raises Closed in the child.

    Example:
        with Client.from_file("privedge.toml") as client:
            print(client.cohorts())
            reply = client.identify("face.png", cohort="faces")
            print(reply.answers[0].owner or "unknown", f"{reply.seconds:.2f} s")
            yes = client.verify("face.png", "ana", cohort="faces").answers[0].owner == "ana"
    """

    def __init__(
        self,
        config: ClientConfig,
        *,
        encoder: StrPath | None = None,
        detector: StrPath | None = None,
        largest_face: bool = False,
        quality: Care = "ignore",
        integrity: Integrity | None = None,
    ) -> None:
        """Create a client. It connects to the parties on first use.

        Args:
            config: the addresses of the parties, and the certificate to show them.
            encoder: the public ONNX file, for cohorts whose feature map is an encoder; None for
                the one that `config` names. It is loaded once in a process, and shared.
            detector: the ONNX file that finds faces, for cohorts of faces; None for the one that
                `config` names.
            largest_face: whether the largest of several faces in a picture is meant.
            quality: "warn" of pictures that are too dark, too bright, without contrast or blurred;
                "refuse" them before anything is sent; or "ignore" it.
            integrity: "none", or "canaries:N" with N of 0, 1, 3 or 7, in place of what `config`
                says.

        Raises:
            ConfigError: the configuration cannot be used.
            CertificateError: a certificate or key is missing, expired or of the wrong kind.
            MissingExtra: `[traces]` is used without OpenTelemetry.
        """
        require_care(quality)
        canaries.require_known(integrity)
        traces.start("client", config.traces)
        self._files = PublicFiles.at(
            encoder=encoder or config.encoder, detector=detector or config.detector
        )
        self._largest_face = largest_face
        self._quality = quality
        self._integrity, self._evidence = integrity or config.integrity, config.evidence
        self._public: dict[str, Rivals] = {}
        self._patience = Patience(config.rpc_timeout_s, config.retries)
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
    def from_file(
        path: StrPath,
        *,
        encoder: StrPath | None = None,
        detector: StrPath | None = None,
        largest_face: bool = False,
        quality: Care = "ignore",
        integrity: Integrity | None = None,
    ) -> "Client":
        """Create a client from a TOML file such as `parties/samples/client.toml`.

        Args:
            path: the file. Relative paths in it start at its folder.
            encoder, detector, largest_face, quality, integrity: as for `Client`.

        Returns:
            The client.

        Raises:
            ConfigError: the file is missing, is not TOML or has a wrong key.
            CertificateError: as for `Client`.
        """
        return Client(
            load(ClientConfig, path),
            encoder=encoder,
            detector=detector,
            largest_face=largest_face,
            quality=quality,
            integrity=integrity,
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close both connections. Queries that are running end with Unreachable."""
        self._open = False
        if self._process == os.getpid():  # a forked child must not close its parent's connections
            for channel in self._channels:
                channel.close()

    def cohorts(self) -> tuple[str, ...]:
        """List the cohorts that both parties serve with the same architecture.

        Returns:
            Their names, sorted.

        Raises:
            NotAllowed: the certificate's role may not list cohorts.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        self._require_usable()
        served = []
        for party in self._parties:
            said = self._told(party, party.stub.ListCohorts, pb.ListCohortsRequest())
            served.append({(codec.cohort_name(row.name), row.spec_digest) for row in said.cohorts})
        return tuple(sorted(name for name, _ in served[0] & served[1]))

    def describe(self, cohort: str) -> Cohort:
        """Ask both parties for the description of a cohort.

        Args:
            cohort: the name of the cohort.

        Returns:
            Its architecture, its rule for "unknown" and its owners.

        Raises:
            UnknownCohort: there is no such cohort.
            NotReady: the cohort has no active model yet.
            ManifestMismatch: the parties' descriptions differ, as they may for a moment while
                models change.
            Unreachable, DeadlineExceeded: a party does not answer.
        """
        self._require_usable()
        again = bool(self._patience.retries)
        found = described(self._parties, cohort, self._told, again=again)
        self._patience = replace(self._patience, answered=True)
        self._cohorts[cohort] = found
        return found

    def identify(self, images: Source, cohort: str, *, one_subject: bool = False) -> Reply:
        """Find which owner of a cohort each picture shows.

        Args:
            images: a PNG, JPEG or WebP file, a folder of such files (in order of name), a Pillow
                image, a list of files and Pillow images, or an array. An array is uint8, 0 to 255,
                of shape (n, H, W) for grey or (n, H, W, 3) for colour. One picture, (H, W) or
                (H, W, 3), is a batch of one. Any size is accepted; pictures are resized to the
                cohort's. For a cohort of vectors: float32 or float64 (n, D), one vector (D,), or an
                npz with an array `vectors`.
            cohort: the name of the cohort.
            one_subject: whether all pictures (at most 32) show the same subject. Then the reply has
                one answer for all of them.

        Returns:
            For each picture the owner whose model fits best, or None for unknown.

        Raises:
            ImageError: `images` cannot be used; the message has the line that converts them.
            RangeError: the features of an image are out of range; the parties would answer unknown.
            QualityError: pictures have flaws, and the client's `quality` is "refuse".
            Refused: a party refuses, for example with UnknownCohort, NotReady, LimitExceeded,
                Unreachable or DeadlineExceeded; the message names the party.
            IntegrityError: the parties' shares do not add up to an answer, or a canary came back
                wrong.
            Closed: the client was closed, or was made before this process was forked.
        """
        return self._ask(images, cohort, verify_owner=None, one_subject=one_subject)

    def verify(
        self, images: Source, owner: str, cohort: str, *, one_subject: bool = False
    ) -> Reply:
        """Check whether pictures show one named owner.

        The answer is yes if that owner's model fits best in the cohort and passes its rule for
        "unknown". The parties learn the name of the owner, but not the answer.

        This is no authentication: a party or dealer that deviates can forge a yes, and canaries
        notice it with a probability only. Let it open nothing by itself.

        Args:
            images, cohort, one_subject: as for `identify`.
            owner: the name of the owner to check.

        Returns:
            For each picture the owner's name, or None for no.

        Raises:
            UnknownModel: the cohort has no such owner.
            And what `identify` raises.
        """
        if not isinstance(owner, str):  # None would mean identify
            raise UnknownModel(f"owner: must be a name, got {type(owner).__name__}")
        return self._ask(images, cohort, verify_owner=owner, one_subject=one_subject)

    def predict(self, inputs: object, cohort: str) -> Predictions:
        """Let the model that a cohort serves answer for each input.

        Args:
            inputs: an array of floats below 64, (n, *input), as the graph in `describe` has it, or
                one sample; or an npz file with such an array called `inputs`.
            cohort: the name of the cohort.

        Returns:
            For each input its label, or its scores, as the operators let them leave.

        Raises:
            CheckpointError: the cohort has RANs.
            ImageError, RangeError: `inputs` cannot be used.
            ConfigError: the client wants canaries, which are for RANs.
            And what `identify` raises.
        """
        self._require_usable()
        predictions.require_no_canaries(self._integrity)
        predictor = Predictor(self._parties, self._patience, self._known)
        return self._open_throughout(lambda: predictor.predict(inputs, cohort))

    def _known(self, name: str, anew: bool) -> Cohort:
        return self.describe(name) if anew else self._cohorts.get(name) or self.describe(name)

    def _told(self, party: Party, method: Callable[..., Any], request: Any) -> Any:
        return told(method, request, peer=party.name, patience=self._patience)

    def _require_usable(self) -> None:
        # A forked process has none of gRPC's threads, so a call in it would never return.
        if self._process != os.getpid():
            raise Closed(
                "this client belongs to the process that this one was forked from; "
                "create a client after the fork"
            )
        if not self._open:
            raise Closed("this client is closed; create a new one")

    def _ask(
        self, images: Source, name: str, *, verify_owner: str | None, one_subject: bool
    ) -> Reply:
        self._require_usable()
        return self._open_throughout(
            lambda: self._answered(images, name, verify_owner, one_subject)
        )

    def _open_throughout(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except ValueError as error:  # gRPC's, for a channel that another thread closed meanwhile
            if self._open:
                raise
            raise Closed("this client was closed during the call; create a new one") from error

    def _answered(
        self, images: Source, name: str, verify_owner: str | None, one_subject: bool
    ) -> Reply:
        spec, query = None, None
        for left in reversed(range(_TRIES)):
            cohort = self._cohorts.get(name) or self.describe(name)
            if verify_owner is not None and verify_owner not in cohort.owners:
                raise UnknownModel(f"cohort {name}: has no owner {verify_owner}")
            if query is None or cohort.spec != spec:
                spec = of_rans(cohort.spec, name)
                query = self._encoded(spec, images)
            try:
                return self._in_batches(cohort, query, verify_owner, one_subject)
            except SnapshotChanged:
                self._cohorts.pop(name, None)
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _encoded(self, spec: RanSpec, images: Source) -> Words:
        source = asked(images, spec.image)
        source.require_fitting(spec)
        inputs = source.at(spec.image, aligner_for(spec, self._files, largest=self._largest_face))
        if self._quality != "ignore" and is_pixels(inputs):
            flaws = quality.of_asked(quality.greys(inputs), source.names)
            quality.heed(flaws, "", self._quality)
        found = features.extract(spec, inputs, encoder=self._files.encoder)
        words = encode(found, what="query")
        narrow.require_valid(spec, words)
        return words

    def _in_batches(
        self, cohort: Cohort, query: Words, verify_owner: str | None, one_subject: bool
    ) -> Reply:
        """Ask as few questions as `max_batch` allows; images of one subject stay together."""
        if one_subject and len(query) > MAX_IMAGES_OF_ONE_SUBJECT:
            raise ImageError(
                f"one subject: at most {MAX_IMAGES_OF_ONE_SUBJECT} images, not {len(query)}"
            )
        count = canaries.wanted(self._integrity, cohort, verify_owner is not None, one_subject)
        drawn = None
        if count:
            verify = verify_owner is not None
            drawn = Canaries(cohort, self._rivals(cohort), count, verify=verify)
        size = len(query) if one_subject else cohort.max_batch
        if drawn is not None:
            size = drawn.room
        replies = []
        for start in range(0, len(query), size):
            part = query[start : start + size]
            ask = partial(self._asked_once, cohort, part, verify_owner, one_subject, drawn)
            replies.append(retried(ask, self._patience))
        return reduce(Reply.plus, replies)

    def _asked_once(
        self,
        cohort: Cohort,
        query: Words,
        verify_owner: str | None,
        one_subject: bool,
        drawn: Canaries | None,
        timeout_s: float,
    ) -> Reply:
        """Ask with a fresh id, fresh shares and fresh canaries: nothing of an earlier try is used
        again, or a party that ends queries could find out which rows matter.
        """
        mixed = drawn.mixed(query) if drawn is not None else None
        words = query if mixed is None else mixed.words
        question = Question(
            query_id=new_query_id(),
            cohort=cohort.name,
            snapshot_id=cohort.snapshot_id,
            shape=words.shape,
            verify_owner=verify_owner,
            one_subject=one_subject,
            word_bits=cohort.word_bits,
        )
        public = cohort.public_owners
        asked = Asked(question, answer_shape(cohort.owners, question, public), timeout_s)
        started = perf_counter()
        try:
            with traces.span("client query", cohort=cohort.name, images=len(words)):
                first, second = exchange(self._parties, asked, words)
            seconds = perf_counter() - started
            if mixed is None:
                opened = combine(first.words, second.words)
            else:
                halves = first.words, second.words
                opened, doubt = mixed.sifted(halves, question, self._evidence)
                if doubt is not None and drawn is not None:
                    self._settle(drawn, doubt, asked)
            own = replace(question, shape=query.shape)
            answers = read_answers(opened, cohort.owners, own, public)
        except PrivEdgeError as error:
            error.request_id = error.request_id or question.query_id
            raise
        sent, received = 2 * question.share_bytes, first.words.nbytes + second.words.nbytes
        costs, ids = (first.cost, second.cost), (question.query_id,)
        found = len(words) - len(query)
        return Reply(answers, seconds, costs, sent, received, ids, cohort.never_unknown, found)

    def _settle(self, drawn: Canaries, doubt: Doubt, before: Asked) -> None:
        """Ask again about a stranger that was named. Raises IntegrityError for another answer, and
        if there is none: whoever has forged the first one could refuse the second question.
        """
        try:
            for _ in range(drawn.times):
                retried(partial(self._asked_again, drawn, doubt, before), self._patience)
        except IntegrityError:
            raise
        except PrivEdgeError as error:
            raise unsettled(before.question, doubt, error, self._evidence) from error

    def _asked_again(self, drawn: Canaries, doubt: Doubt, before: Asked, timeout_s: float) -> None:
        mixed = drawn.again(doubt)
        shape = mixed.words.shape
        question = replace(before.question, query_id=new_query_id(), shape=shape, again=True)
        answer = len(mixed.words), before.answer[1]
        asked = replace(before, question=question, answer=answer, timeout_s=timeout_s)
        try:
            first, second = exchange(self._parties, asked, mixed.words)
            mixed.sifted((first.words, second.words), question, self._evidence)
        except PrivEdgeError as error:
            error.request_id = question.query_id
            raise

    def _rivals(self, cohort: Cohort) -> Rivals:
        """The public rivals, of which both parties have the digest that they describe."""
        if (known := self._public.get(cohort.rivals_sha256)) is not None:
            return known
        name = codec.cohort_asked(cohort.name)
        request = pb.DescribeCohortRequest(cohort=name, with_rivals=True, names_apart=True)
        rows = {
            self._told(party, party.stub.DescribeCohort, request).rivals_rows
            for party in self._parties
        }
        found = self._public[cohort.rivals_sha256] = agreed_rivals(cohort, rows)
        return found
