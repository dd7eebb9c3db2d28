"""Changes of many rows of a registry in few statements, within a transaction of registry.py.

Sees public facts, and salts as the party's vault keeps them.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from parties.party.models.tables import IN_USE, CheckSeen, Model, State
from privedge.sharing.manifest import UploadHeader

# Ids in one statement: databases limit how many values it may have.
_AT_ONCE = 500


def cut(ids: Collection[str]) -> Iterator[list[str]]:
    """Pieces for one statement each."""
    each = list(ids)
    for start in range(0, len(each), _AT_ONCE):
        yield each[start : start + _AT_ONCE]


def uploaded(header: UploadHeader, salt: bytes, now: int) -> dict[str, Any]:
    """The row of a model that was just uploaded. now: seconds since 1970, UTC."""
    manifest = header.manifest
    return {
        "model_id": manifest.model_id,
        "cohort": manifest.cohort,
        "owner": manifest.owner,
        "state": State.UPLOADED,
        "manifest_json": manifest.to_json(),
        "manifest_digest": manifest.digest(),
        "salt": salt,
        "created_at": now,
    }


def set_states(session: Session, states: Mapping[str, State], only: Collection[State] = ()) -> None:
    """The new state of each model, by id; with `only`, of those that are in one of these states.

    Active ones last: the unique index holds after every statement.
    """
    for state in sorted(set(states.values()), key=lambda state: state == State.ACTIVE):
        for some in cut([each for each, to in states.items() if to == state]):
            change = update(Model).where(Model.model_id.in_(some)).values(state=state)
            if only:
                change = change.where(Model.state.in_(only))
            session.execute(change, execution_options={"synchronize_session": False})


def activate(session: Session, model_ids: Collection[str]) -> dict[str, str]:
    """See Registry.activate."""
    chosen, cohorts = dict[str, str](), set[str]()
    for some in cut(model_ids):
        columns = select(Model.cohort, Model.owner, Model.model_id)
        for cohort, owner, model_id in session.execute(columns.where(Model.model_id.in_(some))):
            cohorts.add(cohort)
            chosen[owner] = model_id
    (cohort,) = cohorts
    retired = dict[str, str]()
    for some in cut(chosen):
        before = select(Model.owner, Model.model_id).where(
            Model.cohort == cohort, Model.owner.in_(some), Model.state.in_(IN_USE)
        )
        for owner, model_id in session.execute(before):
            if model_id != chosen[owner]:
                retired[model_id] = owner
    set_states(session, dict.fromkeys(retired, State.RETIRED))
    set_states(session, dict.fromkeys(chosen.values(), State.ACTIVE))
    return retired


def note_seen(session: Session, model_ids: Collection[str], seen: str) -> None:
    """What this party saw of the checks of these models, in place of what was noted before."""
    for some in cut(model_ids):
        session.execute(delete(CheckSeen).where(CheckSeen.model_id.in_(some)))
        session.execute(insert(CheckSeen), [{"model_id": each, "seen": seen} for each in some])
