"""List and delete an owner's models at the parties. Sees public facts only."""

import re
from collections.abc import Sequence

from privedge.config import ClientConfig
from privedge.errors import NotAllowed, UnknownModel
from privedge.identity.roles import Role
from privedge.user.party import ModelFacts, connect

_MODEL_ID = re.compile(r"[0-9a-f]{32}")


def listed(
    config: ClientConfig, cohort: str | None = None, at: Role = Role.PARTY0
) -> Sequence[ModelFacts]:
    """List the caller's models at one party, or for an admin every owner's, newest first."""
    with connect(config, at) as party:
        return party.models(cohort)


def delete(model_id: str, config: ClientConfig) -> bool:
    """Remove a model from both parties, party 0 first; for an admin, from its own operator's.

    Returns True if it is only suspended, because an admin of the other operator must delete it too.
    Raises UnknownModel if neither party has it.
    """
    if not _MODEL_ID.fullmatch(model_id):
        raise UnknownModel(f"{model_id!r}: not a model's id; see `privedge models list`")
    suspended, errors = False, list[UnknownModel | NotAllowed]()
    for role in (Role.PARTY0, Role.PARTY1):
        with connect(config, role) as party:
            try:
                suspended |= party.delete(model_id)
            except (
                UnknownModel,
                NotAllowed,
            ) as error:  # the other operator's party lets no admin in
                errors.append(error)
    if errors and not suspended and (len(errors) == 2 or isinstance(errors[0], NotAllowed)):
        raise errors[0]
    return suspended
