"""Configuration of the servers: read once at startup, frozen; unknown keys are refused.

Read it with `privedge.config.load(PartyConfig, path)`. Relative paths start at the file's folder.
samples/ holds one file of each kind. There are no secret values: keys are named by file.
"""

import logging
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from privedge.config import Address, Section, TlsFiles
from privedge.errors import ConfigError
from privedge.identity.roles import COHORT_NAME
from privedge.rpc import loopback
from privedge.rpc.access import CallerRules

log = logging.getLogger(__name__)


class PeerSection(Section):
    """Party 0 only: where party 1's front end listens."""

    address: Address = Field(description="Party 1's `listen` address, as party 0 reaches it.")


class MpcSection(Section):
    """The connection between the workers. Worker k uses the port given here plus k."""

    listen: Address | None = Field(
        default=None, description="Party 1 only: where its worker 0 listens."
    )
    address: Address | None = Field(
        default=None, description="Party 0 only: where party 1's worker 0 listens."
    )


class DealerSection(Section):
    """Where the dealer listens."""

    address: Address = Field(description="The dealer's `listen` address, as this party reaches it.")


class PartyLimits(Section):
    """What one party accepts. A refusal is RESOURCE_EXHAUSTED."""

    max_share_mib: int = Field(default=256, ge=1, description="Size of one model's share, in MiB.")
    max_models_per_owner: int = Field(
        default=8,
        ge=1,
        description="Models that an owner may hold at once, not counting superseded ones.",
    )
    upload_deadline_s: float = Field(
        default=300, gt=0, description="The longest that one upload may last, in seconds."
    )
    max_batch: int = Field(default=64, ge=1, description="Images in one query.")
    max_queries: int = Field(
        default=256,
        ge=1,
        description="Queries of all clients at once. A query counts from the start of its call "
        "until its answer is sent. It needs a thread, and memory for the share of its images. The "
        "last eighth of the places is for clients who have no query running.",
    )
    max_queries_per_client: int = Field(
        default=64, ge=1, description="Queries at once with the same client's name."
    )


class DiskSection(Section):
    """Room on the disk of `state`, and how long share files that are no longer used are kept."""

    min_free_percent: float = Field(
        default=5,
        ge=0,
        lt=100,
        description="Uploads are refused if less than this part of the disk would be left.",
    )
    reserve_mib: int = Field(
        default=16,
        ge=0,
        description="Size of a file that is given up when the disk is full, so that models can "
        "still be deleted. With 0 there is none.",
    )
    trash_days: float = Field(
        default=14,
        ge=0,
        description="Days for which the share of a model that was replaced or dropped can be taken "
        "back. What an owner deletes goes at once.",
    )
    scrub_hours: float = Field(
        default=24,
        ge=0,
        description="Each share file is read once in so many hours, while no query runs, and "
        "compared with its manifest. With 0 none is.",
    )


class BatchingSection(Section):
    """Party 0 only: which waiting queries are computed together."""

    delay_ms: float = Field(
        default=0,
        ge=0,
        le=1000,
        description="Milliseconds that a query waits for others although a worker is free. A query "
        "that comes alone is delayed by as much.",
    )
    max_images: int = Field(
        default=64,
        ge=1,
        description="The most images in a run of several queries; never more than `max_batch`. "
        "With 1, every query has its own run.",
    )


class PoolSection(Section):
    """Correlated randomness that is prepared ahead. Use the same settings at both parties."""

    bundles: int = Field(
        default=4,
        ge=0,
        le=1024,
        description="Bundles of each kind (cohort and images in a run) that each worker keeps "
        "ready; each serves one run. With 0 at either party, nothing is prepared.",
    )
    refill_below: int | None = Field(
        default=None,
        ge=1,
        description="Prepare more when fewer bundles than this are left. The default is `bundles`: "
        "replace each at once. With a smaller number, workers prepare less often and for longer.",
    )
    batches: tuple[int, ...] = Field(
        default=(1,),
        description="Numbers of images in a run to prepare for before the first query. The eight "
        "numbers used last are prepared for too.",
    )
    memory_mib: int = Field(
        default=1024,
        ge=1,
        description="Memory for all bundles of one worker, in MiB; bundles are never on disk. Runs "
        "without a bundle ask the dealer as they go.",
    )
    settle_s: float = Field(
        default=1,
        ge=0,
        description="Seconds for which a cohort's models must be unchanged before anything is "
        "prepared for them, so that a series of uploads wastes no work.",
    )

    @property
    def low(self) -> int:
        """Prepare more bundles if fewer than this are left."""
        return min(self.refill_below or self.bundles, self.bundles)


class TimeoutsSection(Section):
    """How long one party waits for the other. Raise these limits if the network is slow."""

    half_s: float = Field(
        default=10,
        gt=0,
        description="Party 0: seconds to wait until party 1 holds the other share of a query. A "
        "client sends both at once.",
    )
    order_s: float = Field(
        default=10,
        gt=0,
        description="Party 0: seconds to wait for party 1's answer to an order to run queries.",
    )
    late_s: float = Field(
        default=5,
        gt=0,
        description="Party 1: seconds that a run may continue after party 0 has ordered the next "
        "run of the same worker.",
    )
    worker_silent_s: float = Field(
        default=10,
        ge=3,
        description="Seconds after which a worker that gives no sign of life is killed and "
        "replaced. It gives one every second, also while it computes.",
    )


class CohortSection(Section):
    """One cohort: its architecture, as a preset or a file, and its rule for "unknown"."""

    name: str = Field(
        pattern=f"^{COHORT_NAME}$",
        description="The cohort's name, the same at both parties.",
    )
    preset: str | None = Field(
        default=None,
        description="The architecture, by the name of a preset. Give either this or `spec_file`.",
    )
    channels: Literal[1, 3] = Field(
        default=1, description="For `preset`: 1 for grey images, 3 for colour."
    )
    components: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="For subspace presets: the number of components, in place of the preset's.",
    )
    spec_file: Path | None = Field(
        default=None, description="The architecture as a file: the JSON of a RanSpec."
    )
    margin: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="An image is known if best < margin * ((1 - mean_share) * second best + "
        "mean_share * mean of all owners). These are the errors of the owners' models. With a "
        "margin of 1, somebody is always named.",
    )
    mean_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="The weight of the mean error over all owners in that rule. Above 0, and with "
        "a margin below 1, a query needs one more round.",
    )

    @model_validator(mode="after")
    def _one_architecture(self) -> Self:
        if (self.preset is None) == (self.spec_file is None):
            raise ValueError("give either preset or spec_file")
        if self.preset == "auto":
            raise ValueError("preset: a cohort has one architecture; name it instead of auto")
        if self.spec_file is not None and self.components is not None:
            raise ValueError("components goes with preset, not with spec_file")
        return self


class ServerConfig(Section):
    """The keys that every server's file has."""

    listen: Address = Field(description="Where this server listens.")
    tls: TlsFiles | None = Field(
        default=None, description="Certificate files; needed unless `insecure_loopback` is true."
    )
    insecure_loopback: bool = Field(
        default=False,
        description="Plain text, for a test on one machine: refuses any address that is not "
        "loopback. Needs `--insecure-loopback` on the command line too.",
    )

    admins: tuple[str, ...] = Field(
        default=(),
        description="Names of the admins of this server, as in their certificates. Other admins "
        "are refused.",
    )
    denied: Path | None = Field(
        default=None,
        description="A file of callers that are refused, although their certificates are good: one "
        "`spiffe://privedge/ROLE/NAME`, or serial number in hexadecimal, a line. It is read again "
        "when it changes (docs/how-to/certificates.md).",
    )

    @property
    def caller_rules(self) -> CallerRules:
        """Whom this server refuses beside what TLS and roles say."""
        return CallerRules(frozenset(self.admins), self.denied)

    def _addresses(self) -> list[str]:
        return [self.listen]

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.insecure_loopback == (self.tls is not None):
            raise ValueError("give either [tls] or insecure_loopback = true")
        if self.insecure_loopback:
            for address in self._addresses():
                _require_loopback(address)
        return self


class PartyConfig(ServerConfig):
    """One party: `python -m parties party --config FILE`."""

    index: Literal[0, 1] = Field(description="Which party this is. Party 0 leads.")
    state: Path = Field(
        description="Folder of the registry and the shares; created with mode 0700."
    )
    registry_url: str | None = Field(
        default=None,
        repr=False,
        description="A database in place of the SQLite file in `state`, as an SQLAlchemy URL.",
    )
    engine: Literal["fused", "crypten"] = Field(
        default="fused",
        description="`fused`: weights are masked once, comparisons need four rounds. `crypten`: "
        "the reference engine. Must be the same at both parties.",
    )
    rounding: Literal["one-unit", "exact"] = Field(
        default="one-unit",
        description="`one-unit`: truncation gives the floor or one unit more; which of them "
        "depends also on the masks. `exact`: always the floor, with two more rounds wherever no "
        "ReLU follows (docs/explanation/threat-model.md). Must be the same at both parties.",
    )
    workers: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Worker processes; each computes one run at a time. Must be the same at both "
        "parties.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Threads with which a worker multiplies. More than one pays where cores are "
        "idle: they share the owners of a cohort. The answers are the same.",
    )
    one_core_workers: bool = Field(
        default=True,
        description="Keep the front end on one processor core, and each worker on one for each of "
        "its threads; they use cores in turn. Switch this off if something else assigns processes "
        "to cores.",
    )
    spare_workers: bool = Field(
        default=False,
        description="Keep a second process for each worker that has loaded everything and takes "
        "its place when it dies. It takes about 220 MiB for each worker.",
    )
    query_deadline_s: float = Field(
        default=60,
        gt=0,
        description="The longest that a query may last, in seconds, from its first byte.",
    )
    peer: PeerSection | None = None
    mpc: MpcSection
    dealer: DealerSection
    limits: PartyLimits = PartyLimits()
    disk: DiskSection = DiskSection()
    batching: BatchingSection = BatchingSection()
    pool: PoolSection = PoolSection()
    timeouts: TimeoutsSection = TimeoutsSection()
    cohorts: tuple[CohortSection, ...] = Field(
        min_length=1, description="One table for each cohort, the same at both parties."
    )

    def _addresses(self) -> list[str]:
        peer = self.peer.address if self.peer else None
        every = [self.listen, self.dealer.address, peer, self.mpc.listen, self.mpc.address]
        return [address for address in every if address]

    @model_validator(mode="after")
    def _leads_or_follows(self) -> Self:
        if self.index == 0 and (self.peer is None or self.mpc.address is None or self.mpc.listen):
            raise ValueError("party 0 needs [peer] address and [mpc] address, and no [mpc] listen")
        if self.index == 1 and (self.peer or self.mpc.listen is None or self.mpc.address):
            raise ValueError("party 1 needs [mpc] listen, and neither [peer] nor [mpc] address")
        return self

    @model_validator(mode="after")
    def _engine_can_round_so(self) -> Self:
        if self.rounding == "exact" and self.engine != "fused":
            raise ValueError('rounding: "exact" needs engine = "fused"')
        return self

    @model_validator(mode="after")
    def _cohorts_differ(self) -> Self:
        names = [cohort.name for cohort in self.cohorts]
        if len(set(names)) != len(names):
            raise ValueError("cohorts: a name is given twice")
        return self


def _require_loopback(address: str) -> None:
    try:
        loopback.require(address)
    except ConfigError as error:
        raise ValueError(str(error)) from None


class DealerLimits(Section):
    """What the dealer accepts from the parties."""

    max_elements: int = Field(default=1 << 26, ge=1, description="Elements of one tuple.")
    max_sessions: int = Field(default=1024, ge=1, description="Sessions that may run at once.")
    weight_cache_mib: int = Field(
        default=1024,
        ge=0,
        description="Memory for the masks of weights that are kept between queries, in MiB. With "
        "0, they are expanded again for every query.",
    )


class DealerTimeouts(Section):
    """How long the dealer waits."""

    pairing_s: float = Field(
        default=20,
        gt=0,
        description="Seconds to wait for the second party, once the first has opened a session.",
    )


class DealerConfig(ServerConfig):
    """The dealer: `python -m parties dealer --config FILE`."""

    limits: DealerLimits = DealerLimits()
    timeouts: DealerTimeouts = DealerTimeouts()


def require_said_twice(config: ServerConfig, path: Path, insecure: bool) -> None:
    """Raise ConfigError unless file and command line agree on plain text.

    Both must ask for it, so that nobody turns TLS off by mistake in one of them.
    """
    if config.insecure_loopback and not insecure:
        raise ConfigError(f"{path}: insecure_loopback also needs --insecure-loopback; use [tls]")
    if insecure and not config.insecure_loopback:
        raise ConfigError(f"{path}: --insecure-loopback also needs insecure_loopback = true")
    if insecure:
        log.warning("NO TLS: anyone who reaches this port can claim any name")
