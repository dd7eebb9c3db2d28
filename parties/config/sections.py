"""The tables of a party's file, but for its cohorts (parties/config/cohort.py)."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from privedge.config import Address, Section


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
    max_models_per_registrar: int = Field(
        default=100_000,
        ge=1,
        description="Models that a cohort's registrar may hold at once for other owners.",
    )
    upload_deadline_s: float = Field(
        default=300, gt=0, le=86400, description="The longest that one upload may last, in seconds."
    )
    max_batch: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Images in one query. Must be the same at both parties.",
    )
    max_queries: int = Field(
        default=256,
        ge=1,
        le=4096,
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


class AuditSection(Section):
    """The audit log, in the folder `audit` of `state`: docs/how-to/budgets-and-audit.md."""

    tally_s: float = Field(
        default=60,
        gt=0,
        description="Seconds for which queries and refusals are counted before they are written, "
        "and between two exchanges of heads with the other party.",
    )
    file_mib: int = Field(
        default=16, ge=1, description="Size from which a new file is begun, in MiB."
    )


class AtRestSection(Section):
    """How shares and salts lie on the disk of `state` (docs/how-to/encrypt-and-rotate.md)."""

    key_file: Path | None = Field(
        default=None,
        description="The key ring with which they are encrypted; made by `python -m parties keys "
        "create`, outside `state`, and readable by this user only. Without one they lie there in "
        "the clear. A folder that was encrypted once needs it from then on.",
    )
    refresh_hours: float = Field(
        default=0,
        ge=0,
        description="Party 0 only: both parties get new shares of the same models once the shares "
        "of a cohort are so many hours old. Backups of before are worthless then. With 0 only "
        "`python -m parties refresh` does that.",
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
        description="Prepare more when fewer bundles than this are left. The default is half of "
        "`bundles` and one more: what a small bundle costs is mostly that parties and dealer meet, "
        "so several are made at a time. With `bundles`, each is replaced at once.",
    )
    opened: float = Field(
        default=0.6,
        ge=0,
        le=0.9,
        description="The share of all dealt bundles that is opened and thrown away, to see whether "
        "the dealer deals rightly (docs/explanation/threat-model.md). For each bundle kept that is "
        "`opened / (1 - opened)` more, made ahead: queries take no longer. With 0 none is opened. "
        "Party 1 refuses to open fewer than its own file says.",
    )
    unaudited: Literal["serve", "refuse"] = Field(
        default="serve",
        description="What becomes of a query for which no bundle is ready whose lot was opened in "
        "part. `serve` computes it with what the dealer deals as it goes, which nobody checks; "
        "`refuse` tells the client to come again soon. Each party decides for itself.",
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
    hint_mib: int = Field(
        default=2048,
        ge=1,
        description='With randomness = "two-party": memory of one worker for what it keeps of the '
        "other party's encrypted weights, in MiB. A cohort that needs more is not answered; of "
        "several cohorts, those asked last stay, and the others exchange them again.",
    )
    settle_s: float = Field(
        default=1,
        ge=0,
        description="Seconds for which a cohort's models must be unchanged before anything is "
        "prepared for them, so that a series of uploads wastes no work.",
    )

    @model_validator(mode="after")
    def _can_be_audited(self) -> "PoolSection":
        if self.unaudited == "refuse" and not (self.bundles and self.opened):
            raise ValueError(
                "`unaudited = refuse` needs `bundles` and `opened` above 0, or no query is answered"
            )
        return self

    @property
    def low(self) -> int:
        """Prepare more bundles if fewer than this are left."""
        return min(self.refill_below or self.bundles // 2 + 1, self.bundles)


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
