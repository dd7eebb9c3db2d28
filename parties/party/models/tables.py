"""The tables of a registry.

Sees public facts, and this party's salt of each model, which the other party must not learn.
"""

import json
from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, and_, text
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship

from parties.at_rest.vault import SALT_FORMS
from parties.party.models.folder_identity import FolderIdentity
from privedge.sharing.manifest import ModelManifest


class State(StrEnum):
    """Where a model is in its life."""

    UPLOADED = "uploaded"  # this party has its share
    PREPARED = "prepared"  # party 1 only: its manifest equals party 0's
    ACTIVE = "active"  # asked by every query of its cohort
    QUARANTINED = "quarantined"  # left out while either party's share of it is damaged
    REFUSED = "refused"  # the check of new models found it out of bounds; its share is kept
    RETIRED = "retired"  # no longer asked; its share waits in the trash, or is gone
    DELETED = "deleted"  # a tombstone, never listed


# The states in which a party must have the share.
LIVE = (State.UPLOADED, State.PREPARED, State.ACTIVE, State.QUARANTINED, State.REFUSED)
# The states in which queries ask a model, or would if it were not damaged.
IN_USE = (State.ACTIVE, State.QUARANTINED)


class Base(DeclarativeBase):
    """All tables."""


class Meta(Base):
    """One row. A database without this table has version 1, which had none."""

    __tablename__ = "meta"
    schema_version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class FolderRow(Base):
    """One row: the state folder that this registry belongs to, and the epochs of both parties."""

    __tablename__ = "state_folder"
    folder: Mapped[str] = mapped_column(String(32), primary_key=True)
    party: Mapped[int]
    # Empty until the parties have met.
    deployment: Mapped[str] = mapped_column(String(32))
    epoch: Mapped[int] = mapped_column(BigInteger)
    # The highest epoch that the other party has said.
    peer_epoch: Mapped[int] = mapped_column(BigInteger)

    @property
    def identity(self) -> FolderIdentity:
        """The same as the folder's identity file says it."""
        return FolderIdentity(self.party, self.folder, self.deployment, self.epoch)


class RefreshedShare(Base):
    """One refreshed share of a model, in use or only prepared (docs/adr/0020-shares-at-rest.md)."""

    __tablename__ = "refreshed_shares"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    version: Mapped[str] = mapped_column(String(32), primary_key=True)
    in_use: Mapped[bool]
    # As the party's vault keeps it. The salt of the share in use is in its model's row.
    salt: Mapped[bytes] = mapped_column(LargeBinary(max(SALT_FORMS)))
    # A JSON list: the commitment (hex) to each tensor of this party's share, in manifest order.
    commitments_json: Mapped[str] = mapped_column(Text)
    # Seconds since 1970, UTC.
    created_at: Mapped[int] = mapped_column(BigInteger)

    @property
    def commitments(self) -> tuple[str, ...]:
        """To each tensor of this party's share (hex), in manifest order."""
        return tuple(json.loads(self.commitments_json))


class Model(Base):
    """One uploaded model. Instances handed out are detached: plain values.

    A row has no repr of its own, so `salt` is in none.
    """

    __tablename__ = "models"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    cohort: Mapped[str] = mapped_column(String(64))
    owner: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    manifest_json: Mapped[str] = mapped_column(Text)
    manifest_digest: Mapped[str] = mapped_column(String(64))
    # As the party's vault keeps it; empty once the share is gone.
    salt: Mapped[bytes] = mapped_column(LargeBinary(max(SALT_FORMS)))
    # Seconds since 1970, UTC.
    created_at: Mapped[int] = mapped_column(BigInteger)
    # The refreshed share in use; None for the share that was uploaded.
    refreshed: Mapped[RefreshedShare | None] = relationship(
        primaryjoin=lambda: and_(
            Model.model_id == foreign(RefreshedShare.model_id), RefreshedShare.in_use
        ),
        lazy="joined",
        uselist=False,
        viewonly=True,
    )

    @property
    def version(self) -> str:
        """Which refresh of the share is in use; empty if there never was one."""
        return self.refreshed.version if self.refreshed else ""

    @property
    def commitments(self) -> tuple[str, ...]:
        """To this party's refreshed share (hex); empty if the manifest's hold."""
        return self.refreshed.commitments if self.refreshed else ()

    @property
    def share_since(self) -> int:
        """When the present share was made, in seconds since 1970."""
        return self.refreshed.created_at if self.refreshed else self.created_at

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the upload."""
        return ModelManifest.from_json(self.manifest_json)

    @property
    def share_bytes(self) -> int:
        """Size of the share file this model has or had."""
        return self.manifest.share_bytes


class Spent(Base):
    """What one identity has spent of one budget in one hour, or somewhat more (budgets/ledger.py).

    hour: hours since 1970, UTC. cohort: empty for budgets of all cohorts together.
    """

    __tablename__ = "spent"
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    cohort: Mapped[str] = mapped_column(String(64), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    amount: Mapped[int] = mapped_column(BigInteger)


class Unwanted(Base):
    """A model that an admin of this operator wants to be deleted; it needs both operators."""

    __tablename__ = "unwanted"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)


class Released(Base):
    """A refused model that an admin of this operator releases; it needs both operators."""

    __tablename__ = "released"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)


class CheckSeen(Base):
    """What this party itself saw of a model's check (model_checks.Seen); no row if it saw none."""

    __tablename__ = "checks_seen"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    seen: Mapped[str] = mapped_column(String(16))


class Enrolment(Base):
    """What came of a model's check at enrolment (enrolment.py), if the operators are told."""

    __tablename__ = "enrolments"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    outcome: Mapped[str] = mapped_column(String(16))


class Asked(Base):
    """How many images were answered while a model was active (budgets/asked.py)."""

    __tablename__ = "asked"
    model_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    images: Mapped[int] = mapped_column(BigInteger)


_ACTIVE_ROWS = text(f"state = '{State.ACTIVE}'")
# The database itself refuses a second active model of one owner in one cohort.
Index(
    "one_active_model",
    Model.cohort,
    Model.owner,
    unique=True,
    sqlite_where=_ACTIVE_ROWS,
    postgresql_where=_ACTIVE_ROWS,
)
