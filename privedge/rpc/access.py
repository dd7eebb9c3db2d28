"""The one table of who may call which method. Nobody may call a method that is not in it.

`build_server` uses the whole table, but a server answers only for the services added to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from privedge.identity.roles import Role

EVERYBODY = frozenset(Role)


def _only(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


# What every server offers: health, reflection, and what it says of itself.
STANDARD: Mapping[str, frozenset[Role]] = {
    "/grpc.health.v1.Health/Check": EVERYBODY,
    "/grpc.health.v1.Health/List": EVERYBODY,
    "/grpc.health.v1.Health/Watch": EVERYBODY,
    "/privedge.v1.About/Read": EVERYBODY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _only(Role.ADMIN),
}
ACCESS: Mapping[str, frozenset[Role]] = {
    "/privedge.v1.Party/UploadModel": _only(Role.OWNER),
    "/privedge.v1.Party/UploadModels": _only(Role.OWNER),
    "/privedge.v1.Party/ActivateModel": _only(Role.OWNER),
    "/privedge.v1.Party/ActivateModels": _only(Role.OWNER),
    "/privedge.v1.Party/DeleteModel": _only(Role.OWNER, Role.ADMIN),
    "/privedge.v1.Party/ReleaseModel": _only(Role.ADMIN),
    "/privedge.v1.Party/ListModels": _only(Role.OWNER, Role.ADMIN),
    "/privedge.v1.Party/ListCohorts": _only(Role.OWNER, Role.CLIENT, Role.ADMIN),
    "/privedge.v1.Party/DescribeCohort": _only(Role.OWNER, Role.CLIENT, Role.ADMIN),
    "/privedge.v1.Party/ListOwners": _only(Role.OWNER, Role.CLIENT, Role.ADMIN),
    "/privedge.v1.Party/ReadExposure": _only(Role.OWNER),
    "/privedge.v1.Party/Query": _only(Role.CLIENT),
    "/privedge.v1.Party/Status": _only(Role.ADMIN),
    "/privedge.v1.Party/RefreshShares": _only(Role.ADMIN, Role.PARTY0),
    "/privedge.v1.Peer/Hello": _only(Role.PARTY0),
    "/privedge.v1.Peer/ReadTerms": _only(Role.PARTY0),
    "/privedge.v1.Peer/CheckEnrolment": _only(Role.PARTY0),
    "/privedge.v1.Peer/CheckModel": _only(Role.PARTY0),
    "/privedge.v1.Peer/DrawProbes": _only(Role.PARTY0),
    "/privedge.v1.Peer/PrepareModel": _only(Role.PARTY0),
    "/privedge.v1.Peer/PrepareModels": _only(Role.PARTY0),
    "/privedge.v1.Peer/SetActiveModels": _only(Role.PARTY0),
    "/privedge.v1.Peer/CompareActiveModels": _only(Role.PARTY0),
    "/privedge.v1.Peer/FollowActiveModels": _only(Role.PARTY0),
    "/privedge.v1.Peer/AddActiveModel": _only(Role.PARTY0),
    "/privedge.v1.Peer/AddActiveModels": _only(Role.PARTY0),
    "/privedge.v1.Peer/PrepareRefresh": _only(Role.PARTY0),
    "/privedge.v1.Peer/WatchHalves": _only(Role.PARTY0),
    "/privedge.v1.Peer/RefuseHalf": _only(Role.PARTY0),
    "/privedge.v1.Peer/StartRun": _only(Role.PARTY0),
    "/privedge.v1.Peer/ExchangeAuditHeads": _only(Role.PARTY0),
    "/privedge.v1.Mpc/Exchange": _only(Role.PARTY0),
    "/privedge.v1.Mpc/Prepare": _only(Role.PARTY0),
    "/privedge.v1.Dealer/Hello": _only(Role.PARTY0, Role.PARTY1),
    "/privedge.v1.Dealer/Deal": _only(Role.PARTY0, Role.PARTY1),
    # Only its own front end can reach a worker, over a socket in a private folder.
    "/privedge.v1.Worker/Run": _only(Role.PARTY0, Role.PARTY1),
    "/privedge.v1.Worker/Keep": _only(Role.PARTY0, Role.PARTY1),
    "/privedge.v1.Worker/Learn": _only(Role.PARTY0, Role.PARTY1),
    **STANDARD,
}

# Party 0's worker opens this call long before its first order. Every other call begins with a
# message, for which no server waits long.
PATIENT = frozenset({"/privedge.v1.Mpc/Prepare"})


@dataclass(frozen=True)
class CallerRules:
    """A server's own rules beside TLS and roles.

    admins: names of the admins that may call; None for all. denied: the file of the deny list.
    """

    admins: frozenset[str] | None = None
    denied: Path | None = None
