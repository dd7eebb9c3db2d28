"""The habits that files can show: versions that agree, a changelog in order, pages without gaps."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

import parties
import privedge
import privedge_lab
from tools.coverage_table import package_of

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
PROJECTS = {
    path: tomllib.loads((ROOT / path).read_text())["project"]
    for path in ("pyproject.toml", "parties/pyproject.toml", "lab/pyproject.toml")
}
# What a stranger reads before anything else. A gap here is a promise that nobody keeps.
FOR_STRANGERS = [
    *(ROOT / name for name in ("SECURITY.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md")),
    *(ROOT / name for name in ("CITATION.cff", *PROJECTS)),
    ROOT / "docs/how-to/release.md",
    *(path for path in sorted((ROOT / ".github").rglob("*")) if path.is_file()),
]
AUDIENCES = ["Breaks", "Clients", "Owners", "Operators", "Researchers", "Contributors"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def make_targets() -> set[str]:
    declared = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert declared is not None
    return set(declared[1].split())


# --- Versions and changelog -----------------------------------------------------------------------


def releases() -> list[tuple[str, str]]:
    """(version, date) of each numbered section of the changelog, from the top."""
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", CHANGELOG, re.MULTILINE)


def test_packages_changelog_and_citation_name_one_version():
    newest, released = releases()[0]
    versions = {each.__version__ for each in (privedge, parties, privedge_lab)}
    assert versions == {newest}
    assert CITATION["version"] == newest
    assert str(CITATION["date-released"]) == released


def test_the_changelog_goes_from_what_is_not_released_back_to_the_first_release():
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings == ["[Unreleased]", *(f"[{number}] - {day}" for number, day in releases())]
    numbers = [tuple(map(int, number.split("."))) for number, _ in releases()]
    days = [date.fromisoformat(day) for _, day in releases()]
    assert numbers == sorted(set(numbers), reverse=True)
    assert days == sorted(days, reverse=True)


@pytest.mark.parametrize("section", re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:])
def test_a_section_of_the_changelog_says_what_breaks_and_then_goes_by_audience(section):
    groups = re.findall(r"^### (.*)$", section, re.MULTILINE)
    assert groups == [name for name in AUDIENCES if name in groups]


# --- Pages for strangers --------------------------------------------------------------------------

PLACEHOLDER = re.compile(
    r"\bTO[D]O\b|\bTBD\b|\bFIX[M]E\b|\bX{3}\b|\bexample\.(com|org|net)\b|lorem ipsum"
    r"|\byour[- _](name|address|e?-?mail|organi[sz]ation)\b"
    r"|<[^>]*\b(address|e?-?mail|owner|url)\b[^>]*>"
    r"|\b(OWNER|ORG|USER)/REPO\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", FOR_STRANGERS, ids=name_of)
def test_no_page_for_strangers_has_a_placeholder(path):
    assert PLACEHOLDER.search(path.read_text()) is None


@pytest.mark.parametrize(
    "text",
    ["write to security@example.com", "TBD", "by Your Name", "<insert e-mail>", "OWNER/REPO"],
)
def test_placeholders_are_recognised(text):
    assert PLACEHOLDER.search(text)


def test_the_citation_has_what_its_format_asks_for_and_the_licence_of_the_packages():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert {CITATION["license"]} == {project["license"] for project in PROJECTS.values()}
    assert CITATION["authors"] == PROJECTS["pyproject.toml"]["authors"]
    for reference in CITATION["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)


def test_a_weakness_is_reported_in_private_and_the_page_says_what_is_not_protected():
    page = (ROOT / "SECURITY.md").read_text()
    link = re.search(r"\[Not protected\]\(([^)#]+)#not-protected\)", page)
    assert link is not None
    assert "## Not protected" in (ROOT / link[1]).read_text().splitlines()
    assert "Do not open a public issue" in page


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")), ids=name_of
)
def test_an_issue_form_asks_for_no_secrets_and_marks_what_it_needs(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"] and form["description"]
    asked = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in asked}) == len(asked)
    assert any(field.get("validations", {}).get("required") for field in asked)
    assert re.search(r"no images, keys, shares or models", path.read_text(), re.IGNORECASE)


# --- Make, CI and hooks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / ".ci/run"],
    ids=name_of,
)
def test_every_make_target_that_is_named_exists(path):
    # In a page a command is in backticks or indented by four; in a script it starts a line.
    start = "`|^ {4}" if path.suffix == ".md" else "^"
    command = rf"(?:{start})make (?:\w+=\S+ )*([a-z][a-z-]*)"
    named = re.findall(command, path.read_text(), re.MULTILINE)
    assert set(named) <= make_targets()


def test_ci_ends_with_every_test_under_coverage():
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make test COVER=1"


def test_the_hooks_before_a_commit_are_local_and_call_make():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["entry"] == f"make --silent {hook['id']}"
    called = {hook["id"] for hook in hooks}
    assert {"lint", "imports", "proto-check", "docs-check"} <= called <= make_targets()


@pytest.mark.parametrize("project", PROJECTS)
def test_classifiers_list_the_versions_of_python_that_make_matrix_runs(project):
    tested = re.search(r"^PYTHONS := (.*)$", MAKEFILE, re.MULTILINE)
    assert tested is not None
    versions = tested[1].split()
    prefix = "Programming Language :: Python :: "
    classified = [c.removeprefix(prefix) for c in PROJECTS[project]["classifiers"] if prefix in c]
    assert classified == versions
    assert PROJECTS[project]["requires-python"] == f">={versions[0]}"


def test_every_package_of_the_product_has_a_coverage_floor_and_nothing_else_has():
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["privedge"]
    files = [path for top in ("privedge", "parties") for path in (ROOT / top).rglob("*.py")]
    # `pip install ./parties` leaves a build folder in the package.
    generated = {"privedge.wire", "parties.wire"}
    packages = {package_of(name_of(path)) for path in files} - generated - {"parties.build"}
    assert set(floors["coverage-floors"]) == packages
    assert all(type(floor) is int for floor in floors["coverage-floors"].values())
