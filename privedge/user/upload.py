"""Send a trained RAN: encode, split, one share to each party, then activate.

Sees the owner's plaintext model, both shares of it and both salts; each party is sent only its own
share and salt. All values are encoded, and so range-checked, before the first byte leaves the
device.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from privedge.config import ClientConfig
from privedge.errors import CheckpointError, DeadlineExceeded, PrivEdgeError, Unreachable
from privedge.identity.certificates import check_files
from privedge.identity.roles import Role
from privedge.progress import Progress
from privedge.rpc.chunks import cut
from privedge.sharing.fixed_point import encode
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)
from privedge.sharing.ring import Words, wire_view
from privedge.sharing.split import split
from privedge.user.architecture import differences
from privedge.user.checkpoint import Ran
from privedge.user.party import Party, connect

# ActivateModel may be repeated: while a party is away, it is asked again after these seconds.
_ACTIVATION_WAITS_S = (0.5, 1.5)
_WITHDRAWAL_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Receipt:
    """What an accepted upload is known by.

    model_id: 32 hexadecimal digits, to delete it by.
    snapshot_id: names the set of models that is asked from now on.
    bytes_per_party: the size of one share.
    """

    model_id: str
    snapshot_id: str
    bytes_per_party: int


@dataclass(frozen=True)
class _Halves:
    """One upload: the manifest, each party's salt, and each party's share of every tensor."""

    manifest: ModelManifest
    salts: tuple[bytes, bytes] = field(repr=False)
    shares: tuple[Sequence[Words], Sequence[Words]] = field(repr=False)


def send(ran: Ran, cohort: str, config: ClientConfig, progress: Progress | None = None) -> Receipt:
    """Share `ran` with both parties and make it the owner's active model of `cohort`.

    `progress` is told the bytes that both parties together were sent, from two threads, one at a
    time.

    Raises RangeError or CheckpointError before anything is sent, else whatever a party refuses
    with; the message names the party, and the uploaded halves are deleted if that can be done.
    """
    _require_owner(ran, config)
    secrets = {
        name: encode(ran.parameters[name], what=f"{ran.owner}'s model: {name}")
        for name in ran.spec.parameters()
    }
    with connect(config, Role.PARTY0) as party_0, connect(config, Role.PARTY1) as party_1:
        _require_architecture(ran, cohort, party_0)
        halves = _split(ran, cohort, secrets)
        manifest = halves.manifest
        try:
            _upload((party_0, party_1), halves, progress)
        except BaseException:
            _withdraw((party_0, party_1), manifest.model_id)
            raise
        try:
            snapshot_id = _activate(party_0, manifest.model_id)
        except (Unreachable, DeadlineExceeded) as error:
            # It may be active by now, so nothing is taken back.
            raise type(error)(
                f"{error}; see `privedge models list` for {manifest.model_id}"
            ) from None
        except PrivEdgeError:
            _withdraw((party_0, party_1), manifest.model_id)
            raise
    return Receipt(manifest.model_id, snapshot_id, manifest.share_bytes)


def _require_owner(ran: Ran, config: ClientConfig) -> None:
    tls = config.tls
    if tls is None:
        name, where = config.name, "the configuration"
    else:
        name, where = check_files(tls.ca, tls.certificate, tls.key).name, str(tls.certificate)
    if name != ran.owner:
        raise CheckpointError(
            f"this model is {ran.owner}'s, but {where} names {name}; use {ran.owner}'s own"
        )


def _require_architecture(ran: Ran, cohort: str, party: Party) -> None:
    wanted = party.architecture(cohort)
    if wanted.digest() != ran.spec.digest():
        raise CheckpointError(
            f"cohort {cohort} needs another architecture than this model has: "
            f"{differences(wanted, ran.spec)}; train it with --cohort {cohort}"
        )


def _split(ran: Ran, cohort: str, secrets: Mapping[str, Words]) -> _Halves:
    entries: list[TensorEntry] = []
    salts = (new_salt(), new_salt())
    shares: tuple[list[Words], list[Words]] = ([], [])
    for name, secret in secrets.items():
        halves = split(secret)
        commitments = (_commit(salts[0], name, halves[0]), _commit(salts[1], name, halves[1]))
        entries.append(TensorEntry(name, secret.shape, commitments))
        shares[0].append(halves[0])
        shares[1].append(halves[1])
    spec_digest = ran.spec.digest()
    manifest = ModelManifest(new_model_id(), cohort, ran.owner, spec_digest, tuple(entries))
    return _Halves(manifest, salts, shares)


def _commit(salt: bytes, name: str, share: Words) -> str:
    committed = commitment(salt, name)
    committed.update(wire_view(share))
    return committed.hexdigest()


def _upload(parties: tuple[Party, Party], halves: _Halves, progress: Progress | None) -> None:
    """Both streams at once. Raises the refusal that came first, after both have ended."""
    meter = _Meter(2 * halves.manifest.share_bytes, progress)

    def stream(party: Party, salt: bytes, shares: Sequence[Words]) -> None:
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

    def chunks(self, shares: Sequence[Words]) -> Iterator[bytes]:
        """One party's words as chunks. Ends early once stopped: the party then refuses the rest."""
        for share in shares:
            for chunk in cut(wire_view(share)):
                if self._stopped:
                    return
                yield chunk
                self._count(len(chunk))

    def stop(self, failure: PrivEdgeError | None) -> None:
        """End both streams; the first failure is kept."""
        with self._lock:
            self.failure = self.failure or failure
            self._stopped = True

    def _count(self, sent: int) -> None:
        with self._lock:
            self._sent += sent
            if self._progress is not None:
                self._progress("upload", self._sent, self._total)


def _activate(party: Party, model_id: str) -> str:
    for wait_s in _ACTIVATION_WAITS_S:
        with suppress(Unreachable):
            return party.activate(model_id)
        time.sleep(wait_s)
    return party.activate(model_id)


def _withdraw(parties: tuple[Party, Party], model_id: str) -> None:
    """Delete both halves, party 0's first, as far as the parties can be reached."""
    for party in parties:
        with suppress(PrivEdgeError):
            replace(party, timeout_s=_WITHDRAWAL_TIMEOUT_S).delete(model_id)
