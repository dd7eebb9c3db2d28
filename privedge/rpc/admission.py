"""How many calls a server serves at once: of each kind, and of each caller.

Decided when a call arrives, before it takes a thread. Servers, admins, owners, clients and health
checks have places of their own, so none of them can take those of the others.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from privedge.errors import Busy
from privedge.identity.roles import Identity, Role
from privedge.rpc.rates import Rates

_HEALTH = "/grpc.health.v1.Health/"
# One in so many places is kept for callers who have none of the same kind.
_KEPT_FREE = 8


@dataclass(frozen=True)
class Quota:
    """Places for one kind of calls.

    at_once: calls of all callers together. per_caller: calls of one role and name. longest_s:
    seconds after which a call is cancelled; None for calls that may last as long as both ends do.
    rates: how many calls a second one caller may begin; None for any number.
    """

    kind: str
    at_once: int
    per_caller: int
    longest_s: float | None = 60.0
    rates: Rates | None = None


# A server's own name may be in many places: idle calls under it must leave room for its real ones.
SERVERS = Quota("servers", at_once=2048, per_caller=1024, longest_s=None)
ADMINS = Quota("admins", at_once=64, per_caller=16)
OWNERS = Quota("owners", at_once=128, per_caller=16)
CLIENTS = Quota("clients", at_once=128, per_caller=16)
HEALTH = Quota("health checks", at_once=64, per_caller=4)


class Admission:
    """Counts the calls that are running. Safe to call from many threads."""

    def __init__(self, quotas: Mapping[str, Quota] | None = None) -> None:
        """`quotas` are those of single methods, in place of what owners and clients share."""
        self._quotas = quotas or {}
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._held_by: Counter[tuple[str, Identity]] = Counter()

    def quota(self, who: Identity, method: str) -> Quota:
        """Return the places for which a call counts."""
        if who.role.serves:
            return SERVERS
        if who.role is Role.ADMIN:
            return ADMINS
        if method.startswith(_HEALTH):
            return HEALTH
        return self._quotas.get(method, OWNERS if who.role is Role.OWNER else CLIENTS)

    def enter(self, who: Identity, quota: Quota) -> Callable[[], None]:
        """Count one call of `who`, and return what must be called once when it ends.

        Raises Busy, and counts nothing, if there is no place for it.
        """
        key = quota.kind, who
        with self._lock:
            mine, free = self._held_by[key], quota.at_once - self._held[quota.kind]
            if mine >= quota.per_caller:
                raise Busy(f"{who.uri}: {mine} calls at once ({quota.kind}) are its limit")
            if free <= (quota.at_once // _KEPT_FREE if mine else 0):
                raise Busy(f"{who.uri}: too many calls at once ({quota.kind}) of all callers")
            wait_s = quota.rates.take(who) if quota.rates is not None else 0
            if wait_s:
                raise Busy(f"{who.uri}: more calls a second ({quota.kind}) than it may", wait_s)
            self._held[quota.kind] += 1
            self._held_by[key] += 1
        return lambda: self._leave(key)

    def _leave(self, key: tuple[str, Identity]) -> None:
        with self._lock:
            self._held[key[0]] -= 1
            self._held_by[key] -= 1
            if not self._held_by[key]:
                del self._held_by[key]
