"""What other servers said of themselves, and what this one may serve meanwhile.

Until a server has answered, all goes on as if it agreed: workers compare what they compute anyway.
Public facts only; what comes from others is made harmless before it gets here (edge/hello.py).
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from privedge import __version__
from privedge.errors import CohortDiffers, TermsDiffer

log = logging.getLogger(__name__)

# What a server of before there were terms is said to do.
NO_HANDSHAKE = "runs a version without the handshake"
# A log line, and a server's Status, name at most so many.
_NAMED = 20


@dataclass(frozen=True)
class Heard:
    """In what another server differs from this one. `cohorts`: by name."""

    release: str = ""
    lines: tuple[str, ...] = ()
    cohorts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def named(self) -> tuple[str, ...]:
        """All of it, a line for each."""
        cohorts = (f"cohort {name}: {', '.join(each)}" for name, each in self.cohorts.items())
        return (*self.lines, *cohorts)


class Handshake:
    """One server's. Safe to call from many threads; `require` takes no lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard: dict[str, Heard] = {}
        self._told: list[Callable[[bool], None]] = []
        # Each is replaced as a whole.
        self._refusal: str | None = None
        self._refused_cohorts: Mapping[str, str] = {}

    def hear(self, who: str, found: Heard) -> None:
        """Another server has said hello. `who` is for people: "party 1"."""
        with self._lock:
            before = self._heard.get(who)
            self._heard[who] = found
            self._decide()
            for tell in self._told:
                tell(self._refusal is None)
        if found != before:
            _log(who, found)

    def require(self, cohort: str) -> None:
        """Raises TermsDiffer if nothing may be served now, CohortDiffers if `cohort` may not."""
        if self._refusal is not None:
            raise TermsDiffer(self._refusal)
        if cohort in self._refused_cohorts:
            raise CohortDiffers(self._refused_cohorts[cohort])

    @property
    def differences(self) -> tuple[str, ...]:
        """For an operator, a line for each: "party 1: rounding: exact here, one-unit there"."""
        with self._lock:
            return _few(
                [f"{who}: {line}" for who, found in self._heard.items() for line in found.named]
            )

    def watch(self, tell: Callable[[bool], None]) -> None:
        """Call `tell` with whether this server may serve: now, and after every hello."""
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
    """One line, however much differs; and one if the release is another."""
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
