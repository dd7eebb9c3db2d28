"""Upload many trained models at once: in groups, each of which a party stores whole or not at all.

Sees the owners' plaintext models, both shares of a group of them and its salts. Each party is sent
only its own shares and salts.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from privedge.config import ClientConfig
from privedge.errors import CheckpointError, PrivEdgeError, Unreachable
from privedge.identity.roles import Role
from privedge.progress import Progress
from privedge.ran.any_spec import Spec
from privedge.sharing.manifest import UploadHeader
from privedge.sharing.ring import RING_BITS
from privedge.user.party import Party, connect
from privedge.user.served_model import Trained
from privedge.user.upload import (
    Halves,
    encoded,
    name_of,
    require_wanted,
    split_up,
    upload_one,
    withdraw,
)

# A group: so many models, or so many bytes of shares. A larger model is uploaded by itself.
_GROUP, _GROUP_BYTES = 1000, 1 << 20
# What a message says of one tensor, at most: its name, its shape and two commitments.
_TENSOR_BYTES = 200
# So many models are uploaded before they are activated: what is lost if a party fails meanwhile.
_WINDOW = 4000
# How many shares are withdrawn after a failure; the others stay at the parties, unused.
_WITHDRAWN = 100


@dataclass(frozen=True)
class Refused:
    """A model that the parties did not make active, and why."""

    owner: str
    model_id: str
    error: PrivEdgeError


@dataclass(frozen=True)
class ManyReceipt:
    """What became of an upload of many models.

    Attributes:
        active: how many models are active now.
        replaced: how many models of before they have put out of use.
        refused: the models that were refused, and why.
        snapshot_id: the id of the cohort's new set of models.
        bytes_per_party: bytes of shares that each party was sent.
    """

    active: int
    replaced: int
    refused: tuple[Refused, ...]
    snapshot_id: str
    bytes_per_party: int


def send_many(
    rans: Iterable[Trained],
    cohort: str,
    config: ClientConfig,
    progress: Progress | None = None,
) -> ManyReceipt:
    """Share models of several owners with both parties and make them active in `cohort`.

    `rans` is read as it is needed. The caller must be each model's owner, or the cohort's registrar
    of it. `progress` is called with ("upload", models active, models read so far).

    Raises RangeError or CheckpointError for a model that does not fit, and the refusal of a party.
    What was active before that stays so; the message says how many were.
    """
    with connect(config, Role.PARTY0) as party_0, connect(config, Role.PARTY1) as party_1:
        wanted, bits = party_0.wanted(cohort)
        many = _Many((party_0, party_1), cohort, progress)
        fitting = _fitting(rans, cohort, wanted, name_of(config))
        halves = (
            split_up(ran, cohort, encoded(ran), narrow_words=bits < RING_BITS) for ran in fitting
        )
        try:
            for group in _groups(halves):
                many.upload(group)
            many.activate()
        except BaseException as error:
            many.withdraw()
            if isinstance(error, PrivEdgeError) and many.active:
                raise type(error)(
                    f"{error}; {many.active} models are active, upload the others again"
                ) from None
            raise
    return many.receipt()


class _Many:
    """The models of one call, as far as they have come."""

    def __init__(
        self, parties: tuple[Party, Party], cohort: str, progress: Progress | None
    ) -> None:
        self._parties, self._cohort, self._progress = parties, cohort, progress
        # Uploaded and not activated yet: the owner of each by id.
        self._waiting: dict[str, str] = {}
        self._refused: list[Refused] = []
        self._read = self._bytes = self._replaced = self.active = 0
        self._snapshot_id = ""

    def upload(self, group: Sequence[Halves]) -> None:
        """Send a group to both parties at once."""
        new = {each.manifest.model_id: each.manifest.owner for each in group}
        again = not set(new.values()).isdisjoint(self._waiting.values())
        if again or len(self._waiting) + len(group) > _WINDOW:
            self.activate()
        self._waiting |= new
        if len(group) == 1:
            upload_one(self._parties, group[0], None)
        else:
            with ThreadPoolExecutor(2, thread_name_prefix="upload") as pool:
                sent = [
                    pool.submit(party.upload_all, _whole(group, at))
                    for at, party in enumerate(self._parties)
                ]
            for each in sent:
                each.result()
        self._read += len(group)
        self._bytes += sum(each.manifest.share_bytes for each in group)
        self._tell()

    def activate(self) -> None:
        """Make active what is uploaded."""
        while self._waiting:
            self._snapshot_id, done = self._parties[0].activate_all(list(self._waiting))
            if not done or not {each.model_id for each in done} <= self._waiting.keys():
                raise Unreachable(f"{self._parties[0].name}: answers for other models; try again")
            for each in done:
                owner = self._waiting.pop(each.model_id)
                if each.refusal is not None:
                    self._refused.append(Refused(owner, each.model_id, each.refusal))
                else:
                    self.active += 1
                    self._replaced += bool(each.replaced)
            self._tell()

    def withdraw(self) -> None:
        """After a failure: delete some of the shares that are not active."""
        for model_id in list(self._waiting)[-_WITHDRAWN:]:
            withdraw(self._parties, model_id)

    def receipt(self) -> ManyReceipt:
        """What became of all."""
        return ManyReceipt(
            self.active, self._replaced, tuple(self._refused), self._snapshot_id, self._bytes
        )

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress("upload", self.active, self._read)


def _fitting(
    rans: Iterable[Trained], cohort: str, wanted: Spec, caller: tuple[str | None, str]
) -> Iterator[Trained]:
    """The models, each of the cohort's architecture, and of the caller or below it."""
    name, where = caller
    digest = wanted.digest()
    for ran in rans:
        if ran.owner != name and not ran.owner.startswith(f"{name}."):
            raise CheckpointError(
                f"a model is {ran.owner}'s, but {where} names {name}, who can upload for owners "
                f"called {name}.NAME only"
            )
        if ran.spec.digest() != digest:
            require_wanted(ran, cohort, wanted)
        yield ran


def _groups(halves: Iterable[Halves]) -> Iterator[list[Halves]]:
    """Groups that fit one message; the owners in one differ. A large model is alone."""
    group, size, owners = list[Halves](), 0, set[str]()
    for each in halves:
        size += _bytes_of(each)
        full = len(group) == _GROUP or size > _GROUP_BYTES or each.manifest.owner in owners
        if group and full:
            yield group
            group, size, owners = [], _bytes_of(each), set()
        group.append(each)
        owners.add(each.manifest.owner)
    if group:
        yield group


def _bytes_of(halves: Halves) -> int:
    """About how many bytes of a message one model takes."""
    return halves.manifest.share_bytes + _TENSOR_BYTES * len(halves.manifest.tensors)


def _whole(group: Sequence[Halves], at: int) -> list[tuple[UploadHeader, bytes]]:
    """One party's shares of a group."""
    return [
        (UploadHeader(each.manifest, each.salts[at]), b"".join(each.shares[at])) for each in group
    ]
