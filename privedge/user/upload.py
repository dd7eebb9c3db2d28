"""Upload a trained model: encode it, split it, send each party its share, then activate it.

Sees the owner's plaintext model, both shares of it and both salts. Each party is sent only its own
share and salt. All values are encoded, and so range-checked, before the first byte leaves the
device.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from privedge.config import ClientConfig
from privedge.errors import (
    CheckpointError,
    DeadlineExceeded,
    IntegrityError,
    ModelRefused,
    PrivEdgeError,
    ReceiptError,
    ShareError,
    Unreachable,
)
from privedge.graph.spec import ModelSpec
from privedge.identity.checking import check_files
from privedge.identity.receipts import ACTIVATION, PARTIES, SignedReceipt
from privedge.identity.roles import Role
from privedge.progress import Progress
from privedge.ran import narrow
from privedge.ran.any_spec import Spec
from privedge.ran.in_words import differences
from privedge.ran.spec import RanSpec
from privedge.rpc.chunks import cut
from privedge.rpc.retry import Patience
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)
from privedge.sharing.ring import RING_BITS, Words, from_bytes, wire_view
from privedge.sharing.split import split
from privedge.user.party import Activated, Party, connect
from privedge.user.served_model import Trained

_TO_WITHDRAW = Patience(within_s=5.0, retries=0)


@dataclass(frozen=True)
class Receipt:
    """The ids and the size of an accepted upload.

    Attributes:
        model_id: 32 hexadecimal digits, which `Owner.delete` accepts.
        snapshot_id: the id of the cohort's new set of models.
        bytes_per_party: the size of one share, in bytes.
        replaced: the id of this owner's model that was active before; empty if there was none.
        enrolment: what came of the check at enrolment, where the owner is told: "new", "known"
            (another owner's model fits the same person) or "unchecked" (too few other owners); else
            empty.
        signed: what both parties have signed of the activation, verified; None unless it was asked
            for, or if one of them signs nothing.
    """

    model_id: str
    snapshot_id: str
    bytes_per_party: int
    replaced: str = ""
    enrolment: str = ""
    signed: SignedReceipt | None = None


@dataclass(frozen=True)
class Halves:
    """One upload: the manifest, each party's salt, and each party's share of every tensor, in wire
    form.
    """

    manifest: ModelManifest
    salts: tuple[bytes, bytes] = field(repr=False)
    shares: tuple[Sequence[memoryview], Sequence[memoryview]] = field(repr=False)


def send(
    ran: Trained,
    cohort: str,
    config: ClientConfig,
    progress: Progress | None = None,
    *,
    signed: bool = False,
) -> Receipt:
    """Share `ran` with both parties and make it the owner's active model in `cohort`.

    `progress` is called with ("upload", bytes sent, bytes in all), counted over both parties. Both
    upload threads call it, one at a time. `signed`: ask both parties for a receipt.

    Raises RangeError or CheckpointError before anything is sent, and later the refusal of a party,
    whose message names the party. Then the uploaded shares are deleted from every party that can be
    reached. They stay if the activation ends without an answer, because the model may be active,
    and after ModelRefused.
    """
    _require_owner(ran, config)
    secrets = encoded(ran)
    with connect(config, Role.PARTY0) as party_0, connect(config, Role.PARTY1) as party_1:
        narrow_words = require_architecture(ran, cohort, party_0)
        halves = split_up(ran, cohort, secrets, narrow_words=narrow_words)
        manifest = halves.manifest
        try:
            upload_one((party_0, party_1), halves, progress)
        except BaseException:
            withdraw((party_0, party_1), manifest.model_id)
            raise
        try:
            activated = party_0.activate(manifest.model_id)
        except (Unreachable, DeadlineExceeded) as error:
            # The model may be active by now, so the shares stay.
            raise type(error)(
                f"{error}; see `privedge models list` for {manifest.model_id}"
            ) from None
        except ModelRefused as error:  # both parties keep it, so that operators can release it
            raise ModelRefused(f"{manifest.model_id}: {error}") from None
        except PrivEdgeError:
            withdraw((party_0, party_1), manifest.model_id)
            raise
        there = None
        if activated.checked or signed:
            there = _at_party_1(manifest.model_id, party_1)
    return Receipt(
        manifest.model_id,
        activated.snapshot,
        manifest.share_bytes,
        activated.replaced,
        _enrolment(manifest.model_id, activated, there),
        _signed(manifest.model_id, activated, there, config) if signed else None,
    )


def _at_party_1(model_id: str, party_1: Party) -> Activated:
    try:
        return party_1.activate(model_id)
    except PrivEdgeError as error:
        raise type(error)(
            f"{model_id}: active, but party 1 does not say what it knows: {error}"
        ) from None


def _signed(
    model_id: str, here: Activated, there: Activated | None, config: ClientConfig
) -> SignedReceipt | None:
    if there is None or config.tls is None:
        return None
    vouching = {role: config.tls.vouching_for(role) for role in PARTIES}
    try:
        return SignedReceipt.of((here.statement, there.statement), ACTIVATION, model_id, vouching)
    except ReceiptError as error:
        raise ReceiptError(f"{model_id}: active, but its receipt does not hold: {error}") from None


def _enrolment(model_id: str, here: Activated, there: Activated | None) -> str:
    """What came of the check at enrolment, if the owner is told."""
    if here.checked is None:
        return ""
    if not here.checked or there is None:
        return "unchecked"
    try:
        found = combine(*(from_bytes(each.share, (1,)) for each in (here, there)))
    except ShareError:
        raise IntegrityError(
            f"{model_id}: active, but what came of its check at enrolment is lost"
        ) from None
    if int(found[0]) > 1:
        raise IntegrityError(f"{model_id}: active, but the parties' shares of its check do not fit")
    return "known" if int(found[0]) else "new"


def _require_owner(ran: Trained, config: ClientConfig) -> None:
    name, where = name_of(config)
    if name != ran.owner:
        raise CheckpointError(
            f"this model is {ran.owner}'s, but {where} names {name}; use the one of {ran.owner}"
        )


def name_of(config: ClientConfig) -> tuple[str | None, str]:
    """The name with which a caller uploads, and where it stands."""
    if config.tls is None:
        return config.name, "the configuration"
    return check_files(config.tls).identity.name, str(config.tls.certificate)


def encoded(ran: Trained) -> dict[str, Words]:
    """A model's parameters as words, in order. Raises RangeError."""
    return {name: _encoded(ran, name) for name in ran.spec.parameters()}


def _encoded(ran: Trained, name: str) -> Words:
    what = f"{ran.owner}'s model: {name}"
    words = encode(ran.parameters[name], what=what)
    narrow.require_narrow(words, narrow.tensor_bits(ran.spec, name), what)
    return words


def require_architecture(ran: Trained, cohort: str, party: Party) -> bool:
    """Whether the party takes narrow words; a release that knows none does not. Raises
    CheckpointError if the model is not of the cohort's architecture.
    """
    wanted, bits = party.wanted(cohort)
    require_wanted(ran, cohort, wanted)
    return bits < RING_BITS


def require_wanted(ran: Trained, cohort: str, wanted: Spec) -> None:
    """Raise CheckpointError unless a model is of the architecture that its cohort wants."""
    if isinstance(wanted, ModelSpec) or isinstance(ran.spec, ModelSpec):
        if wanted != ran.spec:
            raise CheckpointError(f"cohort {cohort}: {_other_graph(wanted, ran.spec)}")
    elif wanted.digest() != ran.spec.digest():
        raise CheckpointError(
            f"cohort {cohort} needs another architecture than this model has: "
            f"{differences(wanted, ran.spec)}; train it with --cohort {cohort}, "
            f"in Python with preset=owner.architecture({cohort!r})"
        )


def _other_graph(wanted: Spec, here: Spec) -> str:
    """How the graph of a cohort differs from a model's."""
    if not isinstance(wanted, ModelSpec) or not isinstance(here, ModelSpec):
        served = "RANs" if isinstance(wanted, RanSpec) else "a model to serve"
        return f"takes {served}, and this file is something else"
    if wanted.outputs != here.outputs:
        return (
            f"its operators let {wanted.outputs.word} leave, and this file says "
            f"{here.outputs.word}; agree on one, and export it again"
        )
    return "has another graph; give its operators the one of this file"


def split_up(
    ran: Trained, cohort: str, secrets: Mapping[str, Words], *, narrow_words: bool
) -> Halves:
    """Two shares of a model, with fresh salts and a fresh id."""
    entries: list[TensorEntry] = []
    salts = (new_salt(), new_salt())
    shares: tuple[list[memoryview], list[memoryview]] = ([], [])
    for name, secret in secrets.items():
        bits = narrow.tensor_bits(ran.spec, name) if narrow_words else RING_BITS
        halves = [wire_view(share, bits) for share in split(secret)]
        commitments = (_commit(salts[0], name, halves[0]), _commit(salts[1], name, halves[1]))
        entries.append(TensorEntry(name, secret.shape, commitments, bits))
        shares[0].append(halves[0])
        shares[1].append(halves[1])
    spec_digest = ran.spec.digest()
    manifest = ModelManifest(new_model_id(), cohort, ran.owner, spec_digest, tuple(entries))
    return Halves(manifest, salts, shares)


def _commit(salt: bytes, name: str, share: memoryview) -> str:
    committed = commitment(salt, name)
    committed.update(share)
    return committed.hexdigest()


def upload_one(parties: tuple[Party, Party], halves: Halves, progress: Progress | None) -> None:
    """Send both shares at once. Raises the first refusal, after both streams have ended."""
    meter = _Meter(2 * halves.manifest.share_bytes, progress)

    def stream(party: Party, salt: bytes, shares: Sequence[memoryview]) -> None:
        try:
            party.upload(UploadHeader(halves.manifest, salt), meter.chunks(shares))
        except PrivEdgeError as error:
            meter.stop(error)

    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="upload") as pool:
        sides = zip(parties, halves.salts, halves.shares, strict=True)
        streams = [pool.submit(stream, *side) for side in sides]
        try:
            for each in streams:
                each.result()
        finally:  # also when a signal interrupts the wait
            meter.stop(None)
    if meter.failure is not None:
        raise meter.failure


class _Meter:
    """Counts what both streams have sent, and ends both when one fails."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.failure: PrivEdgeError | None = None
        self._total, self._progress = total, progress
        self._sent = 0
        self._stopped = False
        self._lock = threading.Lock()

    def chunks(self, shares: Sequence[memoryview]) -> Iterator[bytes]:
        """Yield one party's words in chunks. Once stopped it ends early, so the party refuses."""
        for share in shares:
            for chunk in cut(share):
                if self._stopped:
                    return
                yield chunk
                self._count(len(chunk))

    def stop(self, failure: PrivEdgeError | None) -> None:
        """End both streams. Only the first failure is kept."""
        with self._lock:
            self.failure = self.failure or failure
            self._stopped = True

    def _count(self, sent: int) -> None:
        with self._lock:
            self._sent += sent
            if self._progress is not None:
                self._progress("upload", self._sent, self._total)


def withdraw(parties: tuple[Party, Party], model_id: str) -> None:
    """Delete both shares, party 0's first. A party that cannot be reached keeps its share."""
    for party in parties:
        with suppress(PrivEdgeError):
            replace(party, patience=_TO_WITHDRAW).delete(model_id)
