"""The committed table of CrypTen's own tests: what may fail, and the least that passes."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[4]
EXPECTED = tomllib.loads((ROOT / "tests/golden/crypten_tests.toml").read_text())
TABLE = (ROOT / "docs/results/crypten-tests.md").read_text()


def rows(columns: int) -> list[list[str]]:
    """The rows of the table that has so many columns, without its titles."""
    lines = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("|")]
    return [row for row in lines if len(row) == columns and row[0] not in ("file", "not passed")]


def counts() -> dict[str, tuple[int, ...]]:
    """Passed, failed and skipped tests by file."""
    return {file: tuple(map(int, each)) for file, *each in rows(4) if file.startswith("test_")}


def test_no_file_passes_fewer_tests_than_its_floor():
    passed = {file: each[0] for file, each in counts().items()}
    assert {file: passed[file] for file in EXPECTED["floors"]} == EXPECTED["floors"]


def test_whatever_failed_has_a_reason_and_whatever_has_one_failed():
    failed = {row[0] for row in rows(3) if row[1] == "failed"}
    assert failed == set(EXPECTED["failing"])
    assert sum(each[1] for each in counts().values()) == len(failed)


def test_every_reason_is_a_line():
    groups = (EXPECTED[name] for name in ("files", "classes", "tests", "failing"))
    for reason in (text for group in groups for text in group.values()):
        assert re.fullmatch(r"[^\n]{6,100}", reason)


def test_no_test_took_too_long():
    assert "took too long" not in TABLE
