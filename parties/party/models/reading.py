"""What a registry says of models. Sees what registry.py does, and changes nothing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from parties.party.models.cohorts import ModelRef
from parties.party.models.database import is_lost, reason
from parties.party.models.ownership import Owner, unreachable
from parties.party.models.parts import Listed
from parties.party.models.rows import cut
from parties.party.models.tables import (
    IN_USE,
    LIVE,
    CheckSeen,
    Enrolment,
    Model,
    RefreshedShare,
    Released,
    State,
    Unwanted,
)

# The longest page of a list; keeps one answer within one gRPC message.
MAX_LISTED = 2000
# So many ids are looked up one by one; of more, the whole table is read.
_FEW = 500

_HAS_SALT = func.length(Model.salt) > 0


@dataclass(frozen=True)
class Kept:
    """What a party compares of a model, without its manifest: a cohort may have a million."""

    model_id: str
    cohort: str
    owner: str
    state: str
    manifest_digest: str
    version: str


_USED = and_(Model.model_id == RefreshedShare.model_id, RefreshedShare.in_use)
_KEPT = select(
    Model.model_id,
    Model.cohort,
    Model.owner,
    Model.state,
    Model.manifest_digest,
    func.coalesce(RefreshedShare.version, ""),
).outerjoin(RefreshedShare, _USED)


class Reading:
    """The questions that a registry answers. Safe to call from several threads.

    Each raises Unreachable while the database is away.
    """

    def __init__(self, sessions: sessionmaker[Session], owner: Owner) -> None:
        self._sessions = sessions
        self._owner = owner

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        if fault := self._owner.fault():  # no need to wait for what is known to be away
            raise unreachable(fault)
        try:
            with self._sessions() as session:
                yield session
        except SQLAlchemyError as error:
            if not is_lost(error):
                raise
            raise unreachable(reason(error)) from None

    def get(self, model_id: str) -> Model | None:
        """The row of an id, tombstones included."""
        with self._reading() as session:
            return session.get(Model, model_id)

    def rows(self, model_ids: Collection[str]) -> dict[str, Model]:
        """The rows of these ids by id, as far as there are any, tombstones included."""
        found = dict[str, Model]()
        with self._reading() as session:
            for some in cut(model_ids):
                for row in session.scalars(select(Model).where(Model.model_id.in_(some))):
                    found[row.model_id] = row
        return found

    def active(self, cohort: str) -> Sequence[Model]:
        """The active models of a cohort, ordered by owner: the order of the answer vector."""
        wanted = select(Model).where(Model.cohort == cohort, Model.state == State.ACTIVE)
        with self._reading() as session:
            rows = session.scalars(wanted).all()
        # In Python, because databases order text by different rules and both parties must agree.
        return sorted(rows, key=lambda row: row.owner)

    def quarantined(self, cohort: str | None = None) -> Sequence[Model]:
        """The quarantined models of one cohort, or of all."""
        wanted = select(Model).where(Model.state == State.QUARANTINED).order_by(Model.model_id)
        if cohort is not None:
            wanted = wanted.where(Model.cohort == cohort)
        with self._reading() as session:
            return session.scalars(wanted).all()

    def refused(self) -> Sequence[Model]:
        """The models that the check of new models has refused."""
        wanted = select(Model).where(Model.state == State.REFUSED).order_by(Model.model_id)
        with self._reading() as session:
            return session.scalars(wanted).all()

    def released(self) -> frozenset[str]:
        """Ids of the refused models that this operator's admins release."""
        with self._reading() as session:
            return frozenset(session.scalars(select(Released.model_id)))

    def checks_seen(self) -> frozenset[str]:
        """Ids of the models that may be active here as far as their check goes."""
        with self._reading() as session:
            return frozenset(session.scalars(select(CheckSeen.model_id)))

    def not_seen(self, model_ids: Collection[str]) -> set[str]:
        """Those of these ids of whose check this party has noted nothing."""
        if len(model_ids) > _FEW:
            return set(model_ids) - self.checks_seen()
        wanted = select(CheckSeen.model_id).where(CheckSeen.model_id.in_(model_ids))
        with self._reading() as session:
            return set(model_ids).difference(session.scalars(wanted))

    def counts(self) -> dict[tuple[str, str], int]:
        """By cohort and state, how many models there are, tombstones included."""
        wanted = select(Model.cohort, Model.state, func.count()).group_by(Model.cohort, Model.state)
        with self._reading() as session:
            return {(cohort, state): count for cohort, state, count in session.execute(wanted)}

    def listed(
        self,
        *,
        owner: str | None,
        cohort: str | None,
        after: tuple[int, str] | None = None,
        registers: Collection[str] = (),
    ) -> Sequence[Model]:
        """At most MAX_LISTED models, newest first; None means any owner or cohort. In the cohorts
        `registers` also those of owners whose names begin with the owner's and a dot.

        after: the time and the id of the last model of the page before; None for the first page.
        """
        wanted = select(Model).where(Model.state != State.DELETED)
        if after is not None:
            then, last = after
            same = and_(Model.created_at == then, Model.model_id > last)
            wanted = wanted.where(or_(Model.created_at < then, same))
        if owner is not None:
            below = Model.owner.startswith(f"{owner}.", autoescape=True)
            registered = and_(Model.cohort.in_(registers), below)
            wanted = wanted.where(or_(Model.owner == owner, registered))
        if cohort is not None:
            wanted = wanted.where(Model.cohort == cohort)
        newest = wanted.order_by(Model.created_at.desc(), Model.model_id).limit(MAX_LISTED)
        with self._reading() as session:
            return session.scalars(newest).all()

    def unwanted(self) -> frozenset[str]:
        """Ids of the models that this operator's admins want to be deleted."""
        with self._reading() as session:
            return frozenset(session.scalars(select(Unwanted.model_id)))

    def enrolments(self, model_ids: Collection[str]) -> dict[str, str]:
        """What came of the checks at enrolment of these models, by id."""
        wanted = select(Enrolment.model_id, Enrolment.outcome)
        with self._reading() as session:
            rows = session.execute(wanted.where(Enrolment.model_id.in_(model_ids))).all()
        return {model_id: outcome for model_id, outcome in rows}

    def knows(self, cohort: str) -> bool:
        """Whether this party ever had a model of the cohort, deleted ones included."""
        with self._reading() as session:
            any_of_it = select(Model.model_id).where(Model.cohort == cohort).limit(1)
            return session.scalar(any_of_it) is not None

    def kept(self, cohort: str) -> dict[str, Kept]:
        """By id, all models of a cohort whose share this party has, or may have in its trash."""
        wanted = _KEPT.where(Model.cohort == cohort, Model.state != State.DELETED, _HAS_SALT)
        with self._reading() as session:
            return {row[0]: Kept(*row) for row in session.execute(wanted)}

    def in_use(self, cohort: str) -> list[Listed]:
        """The active and the quarantined models of a cohort, for a comparison with the other
        party's list.
        """
        wanted = _KEPT.where(Model.cohort == cohort, Model.state.in_(IN_USE))
        with self._reading() as session:
            rows = [Kept(*row) for row in session.execute(wanted)]
        return [
            Listed(
                ModelRef(row.model_id, row.manifest_digest, row.version),
                row.state == State.QUARANTINED,
            )
            for row in rows
        ]

    def ids(self, cohort: str, state: State) -> list[str]:
        """Ids of the models of a cohort in that state."""
        wanted = select(Model.model_id).where(Model.cohort == cohort, Model.state == state)
        with self._reading() as session:
            return list(session.scalars(wanted))

    def live(self) -> dict[str, Model]:
        """By id, the models whose share file must exist."""
        with self._reading() as session:
            wanted = select(Model).where(Model.state.in_(LIVE))
            return {row.model_id: row for row in session.scalars(wanted)}

    def with_salts(self) -> dict[str, Model]:
        """By id, all models whose share this party has, or may have in its trash."""
        with self._reading() as session:
            return {row.model_id: row for row in session.scalars(select(Model).where(_HAS_SALT))}

    def salts(self) -> list[tuple[str, bytes]]:
        """Every salt of this party, as it is kept, with the id of its model."""
        rows = [(row.model_id, row.salt) for row in self.with_salts().values()]
        return rows + [(share.model_id, share.salt) for share in self.refreshes()]

    def refreshes(self, model_id: str | None = None) -> Sequence[RefreshedShare]:
        """The refreshed shares of one model, or of all, that are prepared and not in use."""
        wanted = select(RefreshedShare).where(RefreshedShare.in_use.is_(False))
        if model_id is not None:
            wanted = wanted.where(RefreshedShare.model_id == model_id)
        with self._reading() as session:
            return session.scalars(wanted).all()

    def count_live(self, owner: str) -> int:
        """How many shares an owner has at this party."""
        return self.counts_live([owner]).get(owner, 0)

    def counts_live(self, owners: Collection[str]) -> dict[str, int]:
        """How many shares each of these owners has here; those without any are left out."""
        found = dict[str, int]()
        with self._reading() as session:
            for some in cut(owners):
                wanted = select(Model.owner, func.count()).where(
                    Model.owner.in_(some), Model.state.in_(LIVE)
                )
                rows = session.execute(wanted.group_by(Model.owner))
                found |= {owner: count for owner, count in rows}
        return found

    def count_below(self, registrar: str) -> int:
        """How many shares there are of owners whose names begin with this one and a dot."""
        below = Model.owner.startswith(f"{registrar}.", autoescape=True)
        wanted = select(func.count()).where(below, Model.state.in_(LIVE))
        with self._reading() as session:
            return session.scalar(wanted) or 0

    def retired(self, owner: str | None = None) -> set[str]:
        """Ids of retired models, of one owner or all, whose share may be in the trash."""
        wanted = select(Model.model_id).where(Model.state == State.RETIRED, _HAS_SALT)
        if owner is not None:
            wanted = wanted.where(Model.owner == owner)
        with self._reading() as session:
            return set(session.scalars(wanted))

    def deleted(self, model_ids: Collection[str]) -> set[str]:
        """Those of these ids that are tombstones."""
        with self._reading() as session:
            wanted = select(Model.model_id).where(Model.state == State.DELETED)
            return set(session.scalars(wanted)) & set(model_ids) if model_ids else set()

    def would_change(self, cohort: str, wanted: Mapping[str, State]) -> bool:
        """Whether `Registry.follow` would change anything."""
        asked = select(Model.model_id, Model.state).where(
            Model.cohort == cohort,
            Model.state.in_((State.PREPARED, State.ACTIVE, State.QUARANTINED)),
        )
        with self._reading() as session:
            now = {model_id: state for model_id, state in session.execute(asked)}
        return now != wanted
