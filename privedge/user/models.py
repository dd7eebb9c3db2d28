"""List and delete an owner's models at the parties. Sees public facts only."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from privedge.config import ClientConfig
from privedge.errors import (
    DeadlineExceeded,
    NotAllowed,
    NotReady,
    ReceiptError,
    UnknownModel,
    Unreachable,
)
from privedge.identity.receipts import DELETION, PARTIES, SignedReceipt, Statement
from privedge.identity.roles import Role
from privedge.user.party import Exposure, ModelFacts, connect

_MODEL_ID = re.compile(r"[0-9a-f]{32}")


def listed(
    config: ClientConfig, cohort: str | None = None, at: Role = Role.PARTY0
) -> Sequence[ModelFacts]:
    """List the caller's models at one party, or for an admin every owner's, newest first."""
    with connect(config, at) as party:
        return party.models(cohort)


def exposure(config: ClientConfig, cohort: str) -> tuple[Exposure, Exposure]:
    """What party 0 and party 1 count of a cohort, for one of its owners."""
    with connect(config, Role.PARTY0) as first, connect(config, Role.PARTY1) as second:
        return first.exposure(cohort), second.exposure(cohort)


@dataclass(frozen=True)
class Release:
    """What became of a release.

    Attributes:
        active: whether the model is active now; else it waits for the other operator.
        away: why the other party could not be reached, in a line; empty if it could.
    """

    active: bool
    away: str


@dataclass(frozen=True)
class Deletion:
    """What became of a deletion.

    Attributes:
        suspended: the model is only left out of queries, because an admin of the other operator
            must delete it too.
        receipt: what both parties have signed; None if one of them has signed nothing.
    """

    suspended: bool
    receipt: SignedReceipt | None


def delete(model_id: str, config: ClientConfig) -> Deletion:
    """Remove a model from both parties, party 0 first; for an admin, from its own operator's.

    The receipt is verified with the authorities of `config`. Once deleted, a model may be deleted
    again: that gives a fresh receipt. Raises UnknownModel if neither party has it; ReceiptError for
    a statement that does not hold, after both parties have deleted it; Unreachable,
    DeadlineExceeded, and NotReady from a party 1 that does not yet follow party 0.
    """
    if not _MODEL_ID.fullmatch(model_id):
        raise UnknownModel(f"{model_id!r}: not a model's id; see `privedge models list`")
    suspended, errors = False, list[UnknownModel | NotAllowed]()
    statements = list[Statement | None]()
    for role in PARTIES:
        with connect(config, role) as party:
            try:
                deleted = party.delete(model_id)
            except (
                UnknownModel,
                NotAllowed,
            ) as error:  # the other operator's party lets no admin in
                errors.append(error)
                continue
            except (Unreachable, DeadlineExceeded, NotReady) as error:
                if role is PARTIES[0]:
                    raise
                raise type(error)(
                    f"{model_id}: deleted at party 0; delete it again for party 1: {error}"
                ) from None
            suspended |= deleted.suspended
            statements.append(deleted.statement)
    if errors and not suspended and (len(errors) == 2 or isinstance(errors[0], NotAllowed)):
        raise errors[0]
    return Deletion(suspended, _receipt(model_id, statements, config))


def release(model_id: str, config: ClientConfig) -> Release:
    """Release a refused model at the admin's own operator's party. The other one takes no orders of
    this admin, and need not be up.

    Raises UnknownModel; NotAllowed; NotReady for a model that was not refused; and Unreachable or
    DeadlineExceeded if no party that takes orders could be reached: then nothing is released.
    """
    if not _MODEL_ID.fullmatch(model_id):
        raise UnknownModel(f"{model_id!r}: not a model's id; see `privedge models list`")
    active, released = False, 0
    away, refused = list[Unreachable | DeadlineExceeded](), list[UnknownModel | NotAllowed]()
    for role in PARTIES[::-1]:  # party 0 last: it activates
        with connect(config, role) as party:
            try:
                active |= party.release(model_id)
                released += 1
            except (UnknownModel, NotAllowed) as error:  # the other operator's
                refused.append(error)
            except (Unreachable, DeadlineExceeded) as error:
                away.append(error)
    if released:
        return Release(active, str(away[0]) if away else "")
    if away:
        raise type(away[0])(
            f"{model_id}: not released; the party of your own operator must be up: {away[0]}"
        ) from None
    raise refused[0]


def _receipt(
    model_id: str, statements: Sequence[Statement | None], config: ClientConfig
) -> SignedReceipt | None:
    if len(statements) < len(PARTIES) or config.tls is None:
        return None
    vouching = {role: config.tls.vouching_for(role) for role in PARTIES}
    try:
        return SignedReceipt.of(statements, DELETION, model_id, vouching)
    except ReceiptError as error:
        raise ReceiptError(f"{model_id}: deleted, but its receipt does not hold: {error}") from None
