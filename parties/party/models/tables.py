"""The tables of a registry.

Sees public facts, and this party's salt of each model, which the other party must not learn.
"""

from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from parties.party.models.folder_identity import FolderIdentity
from privedge.sharing.manifest import SALT_BYTES, ModelManifest


class State(StrEnum):
    """Where a model is in its life."""

    UPLOADED = "uploaded"  # this party has its share
    PREPARED = "prepared"  # party 1 only: its manifest equals party 0's
    ACTIVE = "active"  # asked by every query of its cohort
    QUARANTINED = "quarantined"  # left out while either party's share of it is damaged
    RETIRED = "retired"  # no longer asked; its share waits in the trash, or is gone
    DELETED = "deleted"  # a tombstone, never listed


# The states in which a party must have the share.
LIVE = (State.UPLOADED, State.PREPARED, State.ACTIVE, State.QUARANTINED)


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
    # Empty once the share is gone.
    salt: Mapped[bytes] = mapped_column(LargeBinary(SALT_BYTES))
    # Seconds since 1970, UTC.
    created_at: Mapped[int] = mapped_column(BigInteger)

    @property
    def manifest(self) -> ModelManifest:
        """The manifest of the upload."""
        return ModelManifest.from_json(self.manifest_json)

    @property
    def share_bytes(self) -> int:
        """Size of the share file this model has or had."""
        return self.manifest.share_bytes


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
