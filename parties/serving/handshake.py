"""The differences that other servers reported in their hellos, and what they forbid to serve.

A server that has not answered yet counts as one that agrees, because workers compare what they
compute in any case. Public facts only; edge/hello.py sanitises the text of other servers before it
gets here.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from privedge import __version__
from privedge.errors import CohortDiffers, TermsDiffer

log = logging.getLogger(__name__)

# The log's words for a server that is too old to know the handshake.
NO_HANDSHAKE = "runs a version without the handshake"
# A log line, and a server's Status, list at most this many differences.
_NAMED = 20


@dataclass(frozen=True)
class Heard:
    """The differences between another server and this one.

    release: the other server's version of privedge.
    lines: differences that concern all cohorts.
    cohorts: the differences of single cohorts, by the cohort's name.
    """

    release: str = ""
    lines: tuple[str, ...] = ()
    cohorts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, ...]:
        """All differences, one line each."""
        cohorts = (f"cohort {name}: {', '.join(each)}" for name, each in self.cohorts.items())
        return (*self.lines, *cohorts)


class Handshake:
    """The differences that one server knows. Thread-safe; `require` acquires no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, Heard] = {}
        self._told: list[Callable[[bool], None]] = []
        # Both are only ever replaced as a whole, so they can be read without the lock.
        self._refusal: str | None = None
        self._refused_cohorts: Mapping[str, str] = {}

    def hear(self, who: str, found: Heard) -> None:
        """Record the hello of another server. `who` names it for people, as "party 1" does."""
        with self._lock:
            before = self._heard.get(who)
            self._heard[who] = found
            self._decide()
            for tell in self._told:
                tell(self._refusal is None)
        if found != before:
            _log(who, found)

    def require(self, cohort: str) -> None:
        """Raise TermsDiffer if nothing may be served, or CohortDiffers if `cohort` may not."""
        if self._refusal is not None:
            raise TermsDiffer(self._refusal)
        if cohort in self._refused_cohorts:
            raise CohortDiffers(self._refused_cohorts[cohort])

    @property
    def differences(self) -> tuple[str, ...]:
        """Lines for an operator, such as "party 1: rounding: exact here, one-unit there"."""
        with self._lock:
            return _few(
                [f"{who}: {line}" for who, found in self._heard.items() for line in found.named]
            )

    def fault(self) -> str:
        """Why nothing may be served; empty if something may."""
        return self._refusal or ""

    def watch(self, tell: Callable[[bool], None]) -> None:
        """Call `tell` now and after every hello, with whether this server may serve."""
        with self._lock:
            self._told.append(tell)
            tell(self._refusal is None)

    def _decide(self) -> None:
        said = self._heard.items()
        whole = [_disagrees(who, found.lines) for who, found in said if found.lines]
        self._refusal = "; ".join(whole) or None
        self._refused_cohorts = {
            name: f"cohort {name}: {_disagrees(who, lines)}"
            for who, found in said
            for name, lines in found.cohorts.items()
        }


def _log(who: str, found: Heard) -> None:
    """Log one line about all differences, and one more if the release differs."""
    disagrees = _disagrees(who, found.named)
    if found.lines:
        log.error("%s; nothing is served until both agree", disagrees)
    elif found.cohorts:
        log.warning("%s; nobody is served in these cohorts until both agree", disagrees)
    else:
        log.info("%s agrees on all terms", who)
    if found.release not in ("", __version__):
        log.info("%s runs release %s, this server runs %s", who, found.release, __version__)


def _disagrees(who: str, lines: Sequence[str]) -> str:
    if NO_HANDSHAKE in lines:
        return f"{who} {NO_HANDSHAKE}"
    return f"{who} disagrees on {'; '.join(_few(lines))}"


def _few(lines: Sequence[str]) -> tuple[str, ...]:
    more = len(lines) - _NAMED
    return tuple(lines) if more <= 0 else (*lines[:_NAMED], f"and {more} more")
