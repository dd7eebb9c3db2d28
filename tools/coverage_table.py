"""Coverage by package: a table before pytest's summary, and floors for the product.

    pytest --cov --cov-report=json -p tools.coverage_table    print the table at the end of the run
    python tools/coverage_table.py                            exit with 1 below a floor
    python tools/coverage_table.py --measured                 print floors for pyproject.toml

A floor is a whole percentage of lines, in pyproject.toml under [tool.privedge.coverage-floors].
Every package of `privedge` and `parties` has one; the laboratory has none. Run all three at the top
of a clone: they read the JSON file that pytest-cov writes (pyproject.toml, [tool.coverage.json]).
"""

import argparse
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

PRODUCT = ("privedge", "parties")


@dataclass(frozen=True)
class Coverage:
    """How many lines of code a package has, and how many of them ran."""

    package: str
    lines: int
    covered: int

    @property
    def percent(self) -> float:
        return 100 * self.covered / self.lines if self.lines else 100.0

    @property
    def is_product(self) -> bool:
        return self.package.partition(".")[0] in PRODUCT


def package_of(path: str) -> str:
    """The package of a file, two levels deep: "parties.mpc" for parties/mpc/fused/tree.py."""
    folders = PurePath(path).parent.parts
    if folders[:1] == ("lab",):
        folders = folders[1:]
    return ".".join(folders[:2])


def by_package(report: dict[str, Any]) -> list[Coverage]:
    """Sum the report of coverage.py over packages, in alphabetical order."""
    lines: dict[str, int] = {}
    covered: dict[str, int] = {}
    for path, file in report["files"].items():
        package, summary = package_of(path), file["summary"]
        lines[package] = lines.get(package, 0) + summary["num_statements"]
        covered[package] = covered.get(package, 0) + summary["covered_lines"]
    return [Coverage(name, lines[name], covered[name]) for name in sorted(lines)]


def table(packages: list[Coverage], floors: dict[str, int]) -> str:
    """One line a package and a total, in columns of fixed width."""
    total = Coverage("total", sum(p.lines for p in packages), sum(p.covered for p in packages))
    text = [f"{'package':<32}{'lines':>8}{'missed':>8}{'covered':>9}{'floor':>7}"]
    for package in (*packages, total):
        floor = floors.get(package.package)
        text.append(
            f"{package.package:<32}{package.lines:>8}{package.lines - package.covered:>8}"
            f"{package.percent:>8.1f}%{'' if floor is None else f'{floor}%':>7}"
        )
    return "\n".join(text)


def complaints(packages: list[Coverage], floors: dict[str, int]) -> list[str]:
    """What keeps the floors from holding, one line each."""
    found = {package.package for package in packages}
    unknown = [
        f"pyproject.toml has a floor for {name}, which was not measured: remove the floor"
        for name in floors
        if name not in found
    ]
    return unknown + [line for package in packages if (line := _complaint(package, floors))]


def _complaint(package: Coverage, floors: dict[str, int]) -> str:
    floor = floors.get(package.package)
    if floor is None:
        missing = f"{package.package} has no coverage floor: add one to pyproject.toml"
        return missing if package.is_product else ""
    if package.percent < floor:
        return (
            f"{package.package}: {package.percent:.1f} % of lines are covered, its floor is "
            f"{floor} %: test what build/coverage/html shows in red"
        )
    return ""


def measured(packages: list[Coverage]) -> str:
    """Floors for today's figures, as lines of TOML.

    Rounded down, less two points: which lines a server runs depends a little on who comes first,
    and a process that a test kills takes with it what it had counted.
    """
    product = [package for package in packages if package.is_product]
    return "\n".join(f'"{p.package}" = {max(0, int(p.percent) - 2)}' for p in product)


def read(root: Path) -> tuple[list[Coverage], dict[str, int]]:
    """What the last run in `root` measured, and the floors. FileNotFoundError without a run."""
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    report = json.loads((root / tools["coverage"]["json"]["output"]).read_text())
    return by_package(report), tools["privedge"]["coverage-floors"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """pytest's hook: print the table. The last line, with the number of tests, comes after it."""
    terminalreporter.section("coverage by package")
    terminalreporter.write_line(table(*read(terminalreporter.config.rootpath)))
    terminalreporter.write_line("line by line: build/coverage/html/index.html")


def main() -> int:
    """Check the floors, or print new ones. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--measured", action="store_true", help="print the floors that hold today")
    arguments = parser.parse_args()
    try:
        packages, floors = read(Path.cwd())
    except FileNotFoundError:
        print("nothing was measured yet: run make cover", file=sys.stderr)
        return 1
    if arguments.measured:
        print(measured(packages))
        return 0
    wrong = complaints(packages, floors)
    print("\n".join(wrong), end="\n" if wrong else "", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
