"""Do the faults of the table to a running service, and judge what is seen.

    python -m tools.gameday                  all drills, and every test that shows a case
    python -m tools.gameday --short          a few minutes: a drill for most kinds of fault
    python -m tools.gameday --drills         all drills; the tests are named and not run
    python -m tools.gameday --only C-27      the drills of these cases

The last line is `N cases, M wrong answers, K failed`; the exit status is 0 only if M and K are 0.
A run of all drills writes docs/faults.md. `--json` prints one object on standard output, and the
last line on standard error.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.gameday import page, shown
from tools.gameday.cases import CASES
from tools.gameday.drill import DRILLS, Drill, Outcome, play
from tools.gameday.drills import disk, identity, load, network, processes
from tools.gameday.service import Service

# Importing a module adds its drills.
KINDS = (network, processes, load, disk, identity)
_WITHIN_S = 10.0


def main() -> int:
    """Run what the command line says. Returns the exit status."""
    said = _parsed()
    chosen = [
        each
        for each in DRILLS
        if (not said.short or each.short) and (not said.only or each.case in said.only)
    ]
    with tempfile.TemporaryDirectory(prefix="gameday-") as folder:
        outcomes = _played(chosen, said.folder or Path(folder), said.within)
    tests: page.Tests = {}
    if not said.short and not said.only:
        tests = _named() if said.drills else _tested()
        (shown.ROOT / page.PATH).write_text(page.page(outcomes, tests), encoding="utf-8")
    failed = page.failures(outcomes, tests)
    for case, why in failed.items():
        _tell(f"{case} failed: {why}")
    line = page.summary(outcomes, tests)
    if said.json:
        print(json.dumps({"summary": line, "failed": failed, "drills": [*map(_row, outcomes)]}))
        _tell(line)
    else:
        print(line)
    return int(bool(failed) or any(outcome.wrong for outcome in outcomes))


def _parsed() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("gameday", description=__doc__, formatter_class=form)
    parser.add_argument("--short", action="store_true", help="some of the drills, and no tests")
    parser.add_argument("--drills", action="store_true", help="all of the drills, and no tests")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help="such as C-27")
    parser.add_argument("--within", type=float, default=_WITHIN_S, help="seconds to a right answer")
    parser.add_argument("--folder", type=Path, help="keep the servers' files and logs there")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


def _played(chosen: Sequence[Drill], folder: Path, within_s: float) -> list[Outcome]:
    outcomes = []
    _tell("starting a dealer and two parties")
    with Service(folder) as service:
        for number, each in enumerate(chosen, start=1):
            _tell(f"[{number}/{len(chosen)}] {each.case} {each.fault}")
            outcome = play(each, service, within_s)
            outcomes.append(outcome)
            _tell(f"    {_words(outcome)}")
    return outcomes


def _named() -> page.Tests:
    named = shown.tests()
    return {case: dict.fromkeys(named.get(case, ())) for case in CASES}


def _tested() -> page.Tests:
    """Run every test of a case, each once."""
    named = shown.tests()
    passed = shown.run(each for names in named.values() for each in names)
    return {case: {name: passed.get(name) for name in named.get(case, ())} for case in CASES}


def _words(outcome: Outcome) -> str:
    if outcome.failed:
        return f"FAILED: {outcome.failed}"
    return f"{outcome.seen}; the next right answer after {outcome.next_right_s:.1f} s"


def _row(outcome: Outcome) -> Mapping[str, object]:
    return {
        "case": outcome.drill.case,
        "fault": outcome.drill.fault,
        "seen": outcome.seen,
        "wrong": outcome.wrong,
        "failed": outcome.failed,
        "next_right_s": outcome.next_right_s,
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
