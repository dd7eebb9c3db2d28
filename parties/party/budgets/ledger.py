"""Who has spent how much in which hour or day, in the registry's database.

A charge is counted in memory at once. A thread writes it to the database, a block ahead, so that
most charges find themselves written already, and the others are written while the query is
computed. `Charge.require_lasting` waits for that. What is written is never less than what was
spent: a crash costs at most a block, and gives nothing back.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from parties.party.models.tables import Spent
from privedge.errors import (
    BudgetSpent,
    DeadlineExceeded,
    DiskFull,
    LimitExceeded,
    Unreachable,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
HOUR_S = 3600
DAY_H, MONTH_H = 24, 30 * 24
# These kinds are counted by the day, in windows of 30 days; others by the hour, within a day. The
# hour of a day's row is the first of that day.
_RARE = frozenset({"activated", "refused"})
BY_DAY = _RARE | {"month", "named"}
# Rows that clients may have. After an older registry was put back, nobody knows what was spent of
# them until then: the hour of that is in a row of the kind `unknown`.
_LABELS = frozenset({"labels", "hour", "month"})
_UNKNOWN = "unknown"
# A window is the running hour or day, and as many before it as it is long.
_KEPT_HOURS, _KEPT_DAYS = DAY_H + 1, MONTH_H + DAY_H
# Written ahead: so many, or this part of the limit if that is less. Owners are told what is counted
# by the day (exposure.py), so that a crash should not add much to it.
_MOST_AHEAD, _PART_AHEAD, _AHEAD_OF_COUNTS = 256, 100, 16


class Database(Protocol):
    """What a ledger needs of the registry."""

    def record(self, change: Callable[[Session], T]) -> T:
        """Commit a change that is none of a model. Raises DiskFull."""
        ...


@dataclass(frozen=True)
class Account:
    """One limit of one identity: at most `limit` in any `window_h` hours; 0 means no limit.

    kind: what is counted (budgets.py). name: empty for all identities together. cohort: empty if it
    holds for all.
    """

    kind: str
    name: str
    cohort: str
    limit: int
    window_h: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What the database knows it by."""
        return self.kind, self.name, self.cohort

    @property
    def step_h(self) -> int:
        """How many hours are counted as one."""
        return _step_h(self.kind)

    @property
    def ahead(self) -> int:
        """How much more than was spent is written."""
        if self.limit:
            return max(1, min(_MOST_AHEAD, self.limit // _PART_AHEAD))
        if self.kind in _RARE:
            return 0
        return _AHEAD_OF_COUNTS if self.kind in BY_DAY else _MOST_AHEAD


@dataclass
class _Hour:
    """Spent in one hour or day; what shall be in the database; and what is."""

    used: int = 0
    wanted: int = 0
    written: int = 0


@dataclass
class _Hours:
    """One account's."""

    by_hour: dict[int, _Hour] = field(default_factory=dict)

    def since(self, hour: int) -> list[tuple[int, int]]:
        """Return (hour, spent) from that hour on, in order."""
        return [(each, kept.used) for each, kept in sorted(self.by_hour.items()) if each >= hour]


class Charge:
    """An amount that was spent in one hour."""

    def __init__(self, ledger: "Ledger", account: Account, kept: _Hour, amount: int) -> None:
        self._ledger, self._account, self._kept, self._amount = ledger, account, kept, amount
        self._level = kept.used

    def give_back(self) -> None:
        """It was not spent after all. To be called once at most."""
        self._ledger.give_back(self._kept, self._amount)

    def require_lasting(self, within_s: float) -> None:
        """Return once it would survive a crash; at once where there is no limit.

        Raises DiskFull or Unreachable if it cannot be written, and DeadlineExceeded after
        `within_s` seconds.
        """
        if self._account.limit:
            self._ledger.require_written(self._account, self._kept, self._level, within_s)


class Ledger:
    """Use as a context manager, which ends its thread. Safe to call from many threads."""

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        """`clock`: seconds since 1970; must not jump."""
        self._database, self._clock = database, clock or _steady_clock()
        self._changed = threading.Condition()
        self._accounts: dict[tuple[str, str, str], _Hours] = {}
        self._dirty: set[tuple[str, str, str]] = set()
        # Writes that failed, and whether the last one did for want of space.
        self._failures, self._full = 0, False
        self._hour = self._swept = 0
        # What was spent up to this hour is not known; 0 if all is.
        self._unknown = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def __enter__(self) -> "Ledger":
        self._hour = int(self._clock() // HOUR_S)
        for row in self._database.record(lambda session: _load(session, self._hour)):
            if row.kind == _UNKNOWN:
                self._unknown = max(self._unknown, row.hour)
                continue
            hours = self._accounts.setdefault((row.kind, row.name, row.cohort), _Hours())
            hours.by_hour[row.hour] = _Hour(row.amount, row.amount, row.amount)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write exactly what was spent, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        for key, hours in self._accounts.items():
            for kept in hours.by_hour.values():
                kept.wanted = kept.used
            self._dirty.add(key)
        self._write()

    def spend(self, account: Account, amount: int, *, more: int = 0) -> Charge:
        """Count `amount`, which may use `more` than the limit. Raises BudgetSpent, or LimitExceeded
        if it is more than all of that.
        """
        now = self._clock()
        with self._changed:
            hour = self._hour = int(now // HOUR_S)
            hours = self._accounts.setdefault(account.key, _Hours())
            hour -= hour % account.step_h
            if account.limit:
                _require_known(account, self._unknown, hour, now)
                spent = hours.since(hour - account.window_h)
                _require_left(account, spent, amount, now, more)
            kept = hours.by_hour.setdefault(hour, _Hour())
            kept.used += amount
            if kept.used + account.ahead // 2 > kept.wanted:
                kept.wanted = kept.used + account.ahead
                self._dirty.add(account.key)
                self._changed.notify_all()
            return Charge(self, account, kept, amount)

    def spent(self, account: Account) -> int:
        """Return what was spent of an account within its window."""
        with self._changed:
            hour = int(self._clock() // HOUR_S)
            hour -= hour % account.step_h
            hours = self._accounts.get(account.key, _Hours())
            return sum(used for _, used in hours.since(hour - account.window_h))

    def days(self, kind: str, cohort: str) -> Mapping[str, Mapping[int, int]]:
        """What each name has spent in a cohort, by the day: days since 1970, in UTC. Of a kind in
        BY_DAY, for the running day and the 30 before it.
        """
        with self._changed:
            first = int(self._clock() // HOUR_S) // DAY_H * DAY_H - MONTH_H
            return {
                name: {hour // DAY_H: used for hour, used in hours.since(first) if used}
                for (of, name, where), hours in self._accounts.items()
                if (of, where) == (kind, cohort)
            }

    def give_back(self, kept: _Hour, amount: int) -> None:
        """See Charge."""
        with self._changed:
            kept.used -= amount

    def require_written(self, account: Account, kept: _Hour, level: int, within_s: float) -> None:
        """See Charge."""
        with self._changed:
            if kept.written >= level:
                return
            failures = self._failures
            self._dirty.add(account.key)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: kept.written >= level or self._failures != failures, within_s
            )
            if kept.written >= level:
                return
            if self._failures == failures:
                raise DeadlineExceeded("the budget was not written in time")
            full = self._full
        if full:
            raise DiskFull("registry: the budget cannot be written; free some space")
        raise Unreachable("registry: the budget cannot be written")

    # --- The thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._dirty or self._closed)
                if self._closed:
                    return
            self._write()

    def _write(self) -> None:
        try:
            with self._changed:
                rows, hour = self._to_write(), self._hour
            self._database.record(lambda session: _store(session, rows, hour))
        except Exception as error:  # whatever a database raises: those who wait must hear of it
            log.error("budgets are not written: %s", type(error).__name__)
            with self._changed:
                self._failures += 1
                self._full = isinstance(error, DiskFull)
                self._changed.notify_all()
            return
        with self._changed:
            for _, _, kept, wanted in rows:
                kept.written = wanted
            self._changed.notify_all()

    def _to_write(self) -> "list[_Row]":
        self._forget_old()
        dirty, self._dirty = self._dirty, set()
        return [
            (key, hour, kept, kept.wanted)
            for key in dirty
            if key in self._accounts  # or it was forgotten, and somebody still waits
            for hour, kept in self._accounts[key].by_hour.items()
            if kept.wanted != kept.written
        ]

    def _forget_old(self) -> None:
        """Once an hour: hours of no window, and accounts without any other."""
        if self._swept == self._hour:
            return
        self._swept = self._hour
        for key, hours in list(self._accounts.items()):
            step = _step_h(key[0])
            for hour, kept in list(hours.by_hour.items()):
                if hour < self._hour - _kept_h(key[0]):
                    del hours.by_hour[hour]
                # Not the last one: a query may have begun in it.
                elif hour < self._hour - 2 * step + 1 and kept.wanted != kept.used:
                    kept.wanted = kept.used
                    self._dirty.add(key)
            if not hours.by_hour:
                del self._accounts[key]
                self._dirty.discard(key)


def _step_h(kind: str) -> int:
    return DAY_H if kind in BY_DAY else 1


def _kept_h(kind: str) -> int:
    """Rows older than this are of no use: no window is longer."""
    return _KEPT_DAYS if kind in BY_DAY else _KEPT_HOURS


def _steady_clock() -> Callable[[], float]:
    """Seconds since 1970, which go on evenly from now on, whatever is done to the machine's clock.
    While the machine is suspended they stand still.
    """
    began = time.time() - time.monotonic()
    return lambda: began + time.monotonic()


_Row = tuple[tuple[str, str, str], int, _Hour, int]


def _load(session: Session, hour: int) -> Sequence[Spent]:
    """What is written. What was spent in a later hour, because the clock was ahead then, counts as
    spent in this one: nothing is given back, and nobody is locked out for longer than a window.
    """
    later: Counter[tuple[str, str, str]] = Counter()
    for row in session.scalars(select(Spent).where(Spent.hour > hour)):
        later[row.kind, row.name, row.cohort] += row.amount
        session.delete(row)
    for (kind, name, cohort), amount in later.items():
        now = hour - hour % _step_h(kind)
        here = session.get(Spent, (kind, name, cohort, now))
        before = here.amount if here is not None else 0
        row = Spent(kind=kind, name=name, cohort=cohort, hour=now, amount=before + amount)
        session.merge(row)
    session.flush()
    return session.scalars(select(Spent)).all()


def _store(session: Session, rows: Sequence[_Row], hour: int) -> None:
    by_day = Spent.kind.in_(BY_DAY | {_UNKNOWN})
    for kinds, kept_h in ((by_day, _KEPT_DAYS), (~by_day, _KEPT_HOURS)):
        session.execute(delete(Spent).where(kinds, Spent.hour < hour - kept_h))
    for (kind, name, cohort), hour, _, amount in rows:
        session.merge(Spent(kind=kind, name=name, cohort=cohort, hour=hour, amount=amount))


def set_unknown(session: Session, hour: int | None) -> None:
    """Record that what clients spent up to this hour, since 1970, is not known, and counts as all
    that they may have; or with None, that it is forgotten.
    """
    session.execute(delete(Spent).where(Spent.kind == _UNKNOWN))
    if hour is not None:
        session.add(Spent(kind=_UNKNOWN, name="", cohort="", hour=hour, amount=0))


def _require_known(account: Account, unknown: int, hour: int, now: float) -> None:
    last = unknown - unknown % account.step_h
    if account.kind not in _LABELS or not unknown or last < hour - account.window_h:
        return
    again = (last + account.window_h + account.step_h) * HOUR_S
    raise BudgetSpent(
        f"{account.kind}: an older registry was put back, and what was spent before counts as all",
        again - now,
    )


def _require_left(
    account: Account, spent: Sequence[tuple[int, int]], amount: int, now: float, more: int
) -> None:
    limit = account.limit + more
    if amount > limit:
        raise LimitExceeded(f"{account.kind}: {amount} at once are more than the whole budget")
    left = limit - sum(used for _, used in spent)
    if amount <= left:
        return
    again = now
    for hour, used in spent:  # the oldest first: it is the first to leave the window
        again, left = (hour + account.window_h + account.step_h) * HOUR_S, left + used
        if amount <= left:
            break
    where = f" in cohort {account.cohort}" * bool(account.cohort)
    raise BudgetSpent(f"{account.kind}: the budget of {account.name}{where} is spent", again - now)
