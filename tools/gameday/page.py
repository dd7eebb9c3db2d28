"""docs/faults.md: what a whole run saw of every case."""

from collections.abc import Iterator, Mapping, Sequence

from tools.gameday.cases import CASES
from tools.gameday.drill import Outcome

PATH = "docs/faults.md"

# By case and pytest id: whether it passed, or None if this run did not run it.
Tests = Mapping[str, Mapping[str, bool | None]]

_HEAD = """\
# Faults

<!-- Written by make gameday. -->

Every line is a fault that was done to real servers, and what was seen. `make gameday` starts a dealer and two parties,
puts cables between all processes, does the faults one after the other, then runs the tests that show a case by its
number, and writes this page. With `--drills` it leaves out the tests, which `make test` runs too.
`make gameday SHORT=1` takes a few minutes, and `.ci/run` runs it.

After each fault it must hold that

- no client got a wrong answer;
- the next right answer came within 10 s of the fault's end (the last column, in seconds);
- no process has died but those that were killed;
- no log has an owner's name, a label, or anything long enough to be a share, a mask or a key.

"""


def page(outcomes: Sequence[Outcome], tests: Tests) -> str:
    """Return the page for a run: outcomes of drills, and for each case whether its tests passed."""
    line = (
        f"The run that wrote this page ended with `{summary(outcomes, tests)}`.{_left_out(tests)}"
    )
    return (
        _HEAD
        + line
        + "\n\n"
        + "\n".join([*_drills(outcomes), "", *_tests(tests), "", *_notes()])
        + "\n"
    )


def summary(outcomes: Sequence[Outcome], tests: Tests) -> str:
    """Return the last line of a run."""
    cases = {outcome.drill.case for outcome in outcomes}
    cases |= {case for case, passed in tests.items() if None not in passed.values()}
    wrong = sum(outcome.wrong for outcome in outcomes)
    return f"{len(cases)} cases, {wrong} wrong answers, {len(failures(outcomes, tests))} failed"


def failures(outcomes: Sequence[Outcome], tests: Tests) -> Mapping[str, str]:
    """Return why each failed case has failed."""
    found: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.failed:
            found[outcome.drill.case] = f"{outcome.drill.fault}: {outcome.failed}"
    for case, passed in tests.items():
        failed = [name for name, good in passed.items() if good is False]
        if failed or not passed:
            found[case] = f"failed: {', '.join(failed)}" if failed else "no test of this number"
    return found


def _left_out(tests: Tests) -> str:
    run = any(good is not None for passed in tests.values() for good in passed.values())
    return "" if run else " It ran the drills only, and no tests."


def _drills(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield "## Done to a running service\n"
    yield "| case | what was done | seen | next right answer, s |"
    yield "| --- | --- | --- | --- |"
    for each in sorted(outcomes, key=lambda outcome: outcome.drill.case):
        seconds = "" if each.next_right_s is None else f"{each.next_right_s:.1f}"
        seen = f"**failed**: {each.failed}" if each.failed else each.seen
        yield f"| {each.drill.case} | {each.drill.fault} | {seen} | {seconds} |"


def _tests(tests: Tests) -> Iterator[str]:
    yield "## Every case, and the tests of its number\n"
    yield "| case | fault | what must follow | shown by |"
    yield "| --- | --- | --- | --- |"
    for number, case in CASES.items():
        passed = tests.get(number, {})
        names = [
            f"`{name.rpartition('::')[2]}`{' **(failed)**' if good is False else ''}"
            for name, good in passed.items()
        ]
        shown = ", ".join(names) or "**nothing yet**"
        yield f"| {number} | {case.fault} | {case.expected} | {shown} |"


def _notes() -> Iterator[str]:
    yield "## Where privedge does otherwise than the table first said\n"
    for number, case in CASES.items():
        if case.differs:
            yield from _wrapped(f"- **{number}** {case.differs}")


def _wrapped(text: str, width: int = 120) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            yield line
            line = " "
        line = f"{line} {word}" if line else word
    yield line
