"""A party's file."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from parties.config.budgets import BudgetsSection
from parties.config.cohort import CohortSection
from parties.config.sections import (
    AtRestSection,
    AuditSection,
    BatchingSection,
    DealerSection,
    DiskSection,
    MpcSection,
    PartyLimits,
    PeerSection,
    PoolSection,
    TimeoutsSection,
)
from parties.config.server import ServerConfig


class PartyConfig(ServerConfig):
    """One party: `python -m parties party --config FILE`."""

    index: Literal[0, 1] = Field(description="Which party this is. Party 0 leads.")
    state: Path = Field(
        description="Folder of the registry and the shares; created with mode 0700."
    )
    registry_url: str | None = Field(
        default=None,
        repr=False,
        description="A PostgreSQL database in place of the SQLite file in `state`: "
        "`postgresql://USER@HOST/DATABASE?passfile=FILE` (docs/how-to/postgresql.md).",
    )
    engine: Literal["fused", "crypten"] = Field(
        default="fused",
        description="Which protocols CrypTen's operations run. `fused`: weights are masked once, "
        "comparisons need four rounds. `crypten`: CrypTen's own, a slow reference. Must be the "
        "same at both parties.",
    )
    rounding: Literal["one-unit", "exact"] = Field(
        default="one-unit",
        description="`one-unit`: truncation gives the floor or one unit more; which of them "
        "depends also on the masks. `exact`: always the floor, with two more rounds wherever no "
        "ReLU follows (docs/explanation/threat-model.md). Must be the same at both parties.",
    )
    randomness: Literal["dealer", "two-party"] = Field(
        default="dealer",
        description="Who makes correlated randomness. `dealer`: a third server. `two-party`: the "
        "two parties themselves, with no [dealer]; experimental, not reviewed from outside, for "
        "all presets and images of up to 64 x 64 pixels (docs/adr/0046, 0050). Needs "
        'engine = "fused". Must be the same at both parties.',
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
        le=3600,
        description="The longest that a query may last, in seconds, from its first byte.",
    )
    peer: PeerSection | None = None
    mpc: MpcSection
    dealer: DealerSection | None = None
    limits: PartyLimits = PartyLimits()
    budgets: BudgetsSection = BudgetsSection()
    audit: AuditSection = AuditSection()
    disk: DiskSection = DiskSection()
    at_rest: AtRestSection = AtRestSection()
    batching: BatchingSection = BatchingSection()
    pool: PoolSection = PoolSection()
    timeouts: TimeoutsSection = TimeoutsSection()
    cohorts: tuple[CohortSection, ...] = Field(
        min_length=1, description="One table for each cohort, the same at both parties."
    )

    def _addresses(self) -> list[str]:
        peer = self.peer.address if self.peer else None
        dealer = self.dealer.address if self.dealer else None
        every = [dealer, peer, self.mpc.listen, self.mpc.address]
        return [*super()._addresses(), *(address for address in every if address)]

    @model_validator(mode="after")
    def _leads_or_follows(self) -> Self:
        if self.index == 0 and (self.peer is None or self.mpc.address is None or self.mpc.listen):
            raise ValueError("party 0 needs [peer] address and [mpc] address, and no [mpc] listen")
        if self.index == 1 and (self.peer or self.mpc.listen is None or self.mpc.address):
            raise ValueError("party 1 needs [mpc] listen, and neither [peer] nor [mpc] address")
        return self

    @model_validator(mode="after")
    def _registry_is_one_file(self) -> Self:
        url = self.registry_url or ""
        if url.startswith("sqlite:") and not url.startswith("sqlite:////"):
            raise ValueError("registry_url: must have the whole path, as sqlite:////srv/registry")
        return self

    @model_validator(mode="after")
    def _has_a_dealer_or_none(self) -> Self:
        if self.randomness == "dealer" and self.dealer is None:
            raise ValueError('dealer: a party needs [dealer] address, or randomness = "two-party"')
        if self.randomness == "two-party" and (self.dealer or self.engine != "fused"):
            raise ValueError('randomness: "two-party" needs engine = "fused" and no [dealer]')
        if self.randomness == "two-party" and self.pool.unaudited == "refuse":
            raise ValueError('pool.unaudited: "refuse" needs a dealer, whose bundles are audited')
        return self

    @model_validator(mode="after")
    def _keys_lie_elsewhere(self) -> Self:
        key_file = self.at_rest.key_file
        if key_file is not None and key_file.resolve().is_relative_to(self.state.resolve()):
            raise ValueError("at_rest.key_file: must not be in `state`, which it protects")
        return self

    @model_validator(mode="after")
    def _engine_can_round_so(self) -> Self:
        if self.rounding == "exact" and self.engine != "fused":
            raise ValueError('rounding: "exact" needs engine = "fused"')
        if self.pool.unaudited == "refuse" and self.engine != "fused":
            raise ValueError('pool.unaudited: "refuse" needs engine = "fused", which has bundles')
        return self

    @model_validator(mode="after")
    def _models_can_be_served(self) -> Self:
        served = [cohort.name for cohort in self.cohorts if cohort.kind == "model"]
        if served and (self.engine != "fused" or self.randomness != "dealer"):
            raise ValueError(
                f'cohorts: {served[0]}: kind = "model" needs engine = "fused" and a dealer'
            )
        return self

    @model_validator(mode="after")
    def _cohorts_differ(self) -> Self:
        names = [cohort.name for cohort in self.cohorts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"cohorts: {', '.join(twice)} is given twice")
        return self
