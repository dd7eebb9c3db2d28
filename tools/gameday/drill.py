"""One fault, done to a running service, and how that is judged."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.gameday.invariants import Invariants
from tools.gameday.service import Service

# Does the fault and mends it; returns what was seen, in words.
Do = Callable[[Service], str]


@dataclass(frozen=True)
class Drill:
    """A fault of a case of the table. `short`: it belongs to the short form."""

    case: str
    fault: str
    do: Do
    short: bool


@dataclass(frozen=True)
class Outcome:
    """What was seen of a drill. `failed` says why it failed, if it did."""

    drill: Drill
    seen: str
    wrong: int
    failed: str = ""
    next_right_s: float | None = None


DRILLS: list[Drill] = []


def drill(case: str, fault: str, *, short: bool = True) -> Callable[[Do], Do]:
    """Add a function to the drills."""

    def added(do: Do) -> Do:
        DRILLS.append(Drill(case, fault, do, short))
        return do

    return added


def expect(condition: bool, seen: object) -> None:
    """Fail the drill unless so."""
    if not condition:
        raise AssertionError(f"unexpected: {seen!r}"[:200])


def play(chosen: Drill, service: Service, within_s: float) -> Outcome:
    """Do it; then the next right answer must come `within_s`, and the invariants must hold."""
    before = Invariants(service)
    try:
        seen = chosen.do(service)
        seconds = service.until_answered(within_s)
    except Exception as error:  # whatever a drill raises, the next one is done
        said = str(error).splitlines()[:1]
        return Outcome(chosen, "", before.wrong, f"{type(error).__name__}: {' '.join(said)}")
    broken = list(before.broken())
    if seconds > within_s:
        broken.append(f"the next right answer took {seconds:.1f} s")
    return Outcome(chosen, seen, before.wrong, "; ".join(broken), seconds)
