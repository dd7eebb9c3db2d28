"""CrypTen's own two-party tests, on our backend: make crypten-tests DIR=PATH of a checkout.

Nothing of CrypTen's repository is copied. Each test runs in a pair of forked processes, with a
session over a socket pair and a dealer inside (privedge_lab.reference.forked). The last line is
`N passed, M failed, K skipped`; the table goes to --out. What is left out, and why a test may fail,
is in tests/golden/crypten_tests.toml, with the least that must pass.
"""

import argparse
import datetime
import importlib
import inspect
import io
import os
import re
import subprocess
import sys
import time
import tomllib
import unittest
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from parties.mpc.compiled import compiler
from parties.mpc.crypten_backend import settings
from parties.mpc.crypten_backend.install import install
from parties.mpc.crypten_backend.load import crypten
from parties.mpc.crypten_backend.programs import program
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.session import Session
from privedge_lab.reference.forked import Ended, at_two_parties

ROOT = Path(__file__).resolve().parents[1]
EXPECTED = ROOT / "tests/golden/crypten_tests.toml"

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Row:
    """How one test ended; `reason` is empty for one that passed."""

    file: str
    test: str
    state: str
    reason: str = ""
    rounds: int = 0
    seconds: float = 0.0


def main() -> int:
    """Run the tests that were asked for; 0 if none failed without a reason that is written down."""
    asked = _arguments()
    expected = tomllib.loads(EXPECTED.read_text())
    rows = []
    for row in _rows(asked, expected):
        print(f"{row.state:8}{row.file} {row.test} {row.seconds:.1f} s {row.reason}", flush=True)
        rows.append(row)
    if asked.out:
        before = asked.out.read_text() if asked.out.exists() else ""
        asked.out.write_text(_table(rows, before, asked))
    counts = [sum(row.state == state for row in rows) for state in (PASSED, FAILED, SKIPPED)]
    known = expected["failing"]
    surprises = [
        row for row in rows if row.state == FAILED and f"{row.file}.{row.test}" not in known
    ]
    print("{} passed, {} failed, {} skipped".format(*counts))
    return 1 if surprises else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path, help="a checkout of CrypTen's repository")
    parser.add_argument("--files", default="", help="names of files without .py, by commas")
    parser.add_argument("--only", default="", help="tests whose names have this in them")
    parser.add_argument("--limit", type=float, default=600, help="seconds for each test")
    parser.add_argument("--out", type=Path, help="the table; it keeps what it has of other files")
    return parser.parse_args()


def _rows(asked: argparse.Namespace, expected: dict[str, Any]) -> Iterator[Row]:
    _prepare(asked.dir)
    chosen = [name for name in asked.files.split(",") if name]
    for path in sorted(asked.dir.glob("test/test_*.py")):
        if chosen and path.stem not in chosen:
            continue
        if path.stem in expected["files"]:
            yield Row(path.stem, "(all)", SKIPPED, expected["files"][path.stem])
            continue
        yield from _rows_of(path.stem, asked, expected)


def _rows_of(file: str, asked: argparse.Namespace, expected: dict[str, Any]) -> Iterator[Row]:
    try:
        module = importlib.import_module(f"test.{file}")
    except ImportError as error:
        yield Row(file, "(all)", SKIPPED, f"cannot be imported: {error}")
        return
    for name, kind in inspect.getmembers(module, inspect.isclass):
        if kind.__module__ != module.__name__ or not issubclass(kind, unittest.TestCase):
            continue
        if name in expected["classes"]:
            yield Row(file, name, SKIPPED, expected["classes"][name])
            continue
        for test in sorted(each for each in dir(kind) if each.startswith("test")):
            if asked.only in test:
                why = expected["tests"].get(f"{file}.{test}")
                yield Row(file, test, SKIPPED, why) if why else _run(file, kind, test, asked.limit)


def _run(file: str, kind: type[Any], test: str, limit_s: float) -> Row:
    def half(session: Session, masked: MaskedWeights) -> list[str | int]:
        quiet = io.StringIO()
        with program(session, masked), redirect_stdout(quiet), redirect_stderr(quiet):
            # Inputs, and one lot for both; masks are the session's.
            torch.manual_seed(1234)
            case = kind(test)
            case.rank, case.world_size = session.party, 2
            case.setUp()
            try:
                getattr(case, test)()
            except unittest.SkipTest as skipped:
                return [str(skipped), session.rounds]
        return ["", session.rounds]

    since = time.monotonic()
    ends = at_two_parties(half, limit_s=limit_s)
    seconds = time.monotonic() - since
    error = _worst(ends)
    if error:
        return Row(file, test, FAILED, error, 0, seconds)
    why, rounds = ends[0].value
    return Row(file, test, SKIPPED if why else PASSED, why, rounds, seconds)


def _worst(ends: tuple[Ended, Ended]) -> str:
    """What went wrong first: the other half only says that it was left alone."""
    texts = [end.error or "" for end in ends]
    left = ("the other half", "ConnectionResetError", "BrokenPipeError")
    told = [text for text in texts if text and not any(each in text for each in left)]
    if any(texts):
        return " ".join((told or texts)[0].split())[:160]
    return "" if all(end.done for end in ends) else "took too long"


def _prepare(checkout: Path) -> None:
    # The installed CrypTen is imported already, so of the checkout only its tests are found.
    sys.path.insert(0, str(checkout.resolve()))
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    compiler.prepare()
    install()
    # The test classes ask for a provider by name in their setup. It is ours whatever they say.
    settings._FIXED.pop("mpc.provider")


def _table(rows: list[Row], before: str, asked: argparse.Namespace) -> str:
    """The results as a page: counts by file, and the reason of each test that did not pass. Of the
    table before it keeps the lines of files that did not run now.
    """
    ran = {row.file for row in rows}
    kept = [
        line
        for line in before.splitlines()
        if (named := re.match(r"\| (test_[A-Za-z_]+)[ .]", line)) and named.group(1) not in ran
    ]
    counts, reasons = [line for line in kept if line.count("|") == 5], []
    for file in ran:
        states = [row.state for row in rows if row.file == file]
        numbers = (str(states.count(state)) for state in (PASSED, FAILED, SKIPPED))
        counts.append(f"| {file} | {' | '.join(numbers)} |")
    for row in rows:
        if row.state != PASSED:
            reason = row.reason.replace("|", "/")
            reasons.append(f"| {row.file}.{row.test} | {row.state} | {reason} |")
    reasons += [line for line in kept if line.count("|") == 4]
    lines = [
        "# CrypTen's own tests on this backend",
        "",
        f"Run on {datetime.date.today()} with torch {torch.__version__} and CrypTen"
        f" {crypten.__version__}; tests of commit {_commit(asked.dir)}:",
        "",
        "    make crypten-tests DIR=CrypTen",
        "",
        *("| file | passed | failed | skipped |", "| --- | --- | --- | --- |", *sorted(counts)),
        *("", "| not passed | | reason |", "| --- | --- | --- |", *sorted(reasons)),
    ]
    return "\n".join(lines) + "\n"


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    return told.stdout.strip() or os.environ.get("CRYPTEN_COMMIT", "unknown")


if __name__ == "__main__":
    sys.exit(main())
