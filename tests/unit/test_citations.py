"""Whatever a document, docstring or comment points to is in this repository, down to the heading.

    docs/protocol.md#keys     a file, from the root of the repository, and a heading in it
    docs/adr/0002             a record by its number
    [the wire](...)           in a document: from the document's own folder

Headings have the anchors that GitHub gives them. No path may leave the repository: anyone who has a
clone has everything that it cites.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("privedge", "parties", "lab", "protos", "tests", "tools", "docs", ".ci")
KINDS = {".py", ".md", ".proto", ".toml", ".j2", ".in", ".yml", ".yaml", ".cff"}
NAMED = {"Makefile", "run", "requirements.lock"}

# A file with the headings that are named after it, as in docs/protocol.md#keys, #relu and #pool.
CITED = re.compile(r"(?<![\w./:-])([\w./-]*\w\.md)((?:#[\w-]+)?(?:(?:,|,? and|,? or) #[\w-]+)*)")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
PAGE = re.compile(r"\bdocs/[\w./-]+\.md(?:#[\w-]+)?")
RECORD = re.compile(r"docs/adr/(\d{4})\b(?!-)")
OUTSIDE = re.compile(r"(?<![\w.])(?:\.\./[\w./-]*|/(?:work|home|Users)/[\w./-]+)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def files() -> list[Path]:
    """Everything that a person writes and reads."""
    inside = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")]
    found = [path for path in [*ROOT.iterdir(), *inside] if path.is_file()]
    made = {"build", "dist", "__pycache__"}
    return sorted(
        path
        for path in found
        if (path.suffix in KINDS or path.name in NAMED)
        and not made & {*path.relative_to(ROOT).parts}
        and not path.name.endswith(("_pb2.py", "_pb2_grpc.py"))
    )


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- What is said, and where it points ------------------------------------------------------------


def sayings(path: Path, text: str) -> Iterator[str]:
    """What people read: the docstrings and comments of code, and which pages its strings name; of
    anything else all of it.
    """
    if path.suffix != ".py":
        yield text
        return
    nodes = list(ast.walk(ast.parse(text)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            whole = id(node) in docstrings
            yield node.value if whole else " ".join(PAGE.findall(node.value))
    comments = [
        (token.start[0], token.string.removeprefix("#").removeprefix(" "))
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.COMMENT
    ]
    # Comments on lines that follow each other are one text.
    for _, block in groupby(enumerate(comments), lambda item: item[1][0] - item[0]):
        yield "\n".join(comment for _, (_, comment) in block)


def faults(path: Path, text: str) -> list[str]:
    """What the file at `path` points to that is not there. `text` is its content."""
    found = []
    for said in sayings(path, text):
        if path.suffix == ".md":
            found += [fault for link in LINK.findall(said) for fault in _link(path, link)]
            said = LINK.sub("", said)
        found += [f"leaves the repository: {each}" for each in OUTSIDE.findall(said)]
        for file, anchors in CITED.findall(" ".join(said.split())):
            if not file.startswith("../"):
                found += _cited(path, file, re.findall(r"#([\w-]+)", anchors))
        found += [f"no record {each}" for each in RECORD.findall(said) if not _record(each)]
    return found


def _cited(path: Path, file: str, anchors: list[str]) -> list[str]:
    places = [place for place in (ROOT / file, path.parent / file) if place.is_file()]
    if not places:
        return [f"no file {file}"]
    return [f"no heading {file}#{each}" for each in anchors if each not in headings(places[0])]


def _link(path: Path, link: str) -> list[str]:
    file, _, anchor = link.partition("#")
    target = (path.parent / file).resolve() if file else path
    if not target.is_relative_to(ROOT):
        return [f"leaves the repository: {link}"]
    if not target.exists():
        return [f"no file {link}"]
    if anchor and target.suffix == ".md" and anchor not in headings(target):
        return [f"no heading {link}"]
    return []


def _record(number: str) -> bool:
    return any((ROOT / "docs" / "adr").glob(f"{number}-*.md"))


@cache
def headings(document: Path) -> list[str]:
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    text = FENCE.sub("", document.read_text())
    made: list[str] = []
    for title in re.findall(r"^#{1,6} +(.*?)(?: +#+)?$", text, re.MULTILINE):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        before = sum(
            re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", each) is not None for each in made
        )
        made.append(f"{anchor}-{before}" if before else anchor)
    return made


@pytest.mark.parametrize("path", files(), ids=name_of)
def test_what_a_file_points_to_is_in_this_repository(path):
    assert faults(path, path.read_text()) == []


# --- Is the detector looking? ---------------------------------------------------------------------

# Put together here, so that this file itself cites nothing that is not there.
MD = ".md"
CODE = '"""{}"""\n\n\ndef f():\n    """{}"""\n    # {}\n'


def planted(where: str, said: str) -> list[str]:
    code = CODE.format(
        *(said if place == where else "-" for place in ("module", "body", "comment"))
    )
    return faults(ROOT / "privedge" / "planted.py", code)


@pytest.mark.parametrize("where", ["module", "body", "comment"])
@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (f"see docs/none{MD}", f"no file docs/none{MD}"),
        (f"none{MD} 4", f"no file none{MD}"),
        (f"(docs/protocol{MD}#nowhere)", f"no heading docs/protocol{MD}#nowhere"),
        (f"docs/protocol{MD}#keys, #nowhere", f"no heading docs/protocol{MD}#nowhere"),
        (f"docs/protocol{MD}#keys and #nowhere", f"no heading docs/protocol{MD}#nowhere"),
        ("docs/adr/" + "9999", "no record 9999"),
        ("--data ../" + "shared/x.npz", "leaves the repository: ../" + "shared/x.npz"),
        ("in /work" + "/shared/x", "leaves the repository: /work" + "/shared/x"),
    ],
)
def test_what_is_planted_in_code_is_found(where, said, fault):
    assert planted(where, said) == [fault]


def test_a_citation_that_goes_over_two_comment_lines_is_read_whole():
    code = f"# docs/protocol{MD}#keys,\n# #nowhere\n"
    assert faults(ROOT / "planted.py", code) == [f"no heading docs/protocol{MD}#nowhere"]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (f"[a](none{MD})", f"no file none{MD}"),
        (f"[a](protocol{MD}#nowhere)", f"no heading protocol{MD}#nowhere"),
        ("[a](#nowhere)", "no heading #nowhere"),
        (f"[a](../../other/README{MD})", f"leaves the repository: ../../other/README{MD}"),
        (f"`docs/none{MD}`", f"no file docs/none{MD}"),
        ("    run --data ../" + "shared/x.npz", "leaves the repository: ../" + "shared/x.npz"),
    ],
)
def test_what_is_planted_in_a_document_is_found(said, fault):
    assert faults(ROOT / "docs" / f"protocol{MD}", f"# Title\n\n{said}\n") == [fault]


@pytest.mark.parametrize("name", ["planted.proto", "Makefile", "pyproject.toml"])
def test_what_is_planted_in_any_other_file_is_found(name):
    assert faults(ROOT / name, f"# see docs/none{MD}\n") == [f"no file docs/none{MD}"]


def test_what_is_there_is_no_fault():
    said = f"docs/protocol{MD}#keys and #pool, README{MD}, docs/adr/0002, https://a.org/b{MD}#c"
    assert planted("module", said) == []
    assert faults(ROOT / "docs" / f"wire{MD}", f"[a](protocol{MD}#keys) [b](../README{MD})") == []


def test_strings_of_code_that_nobody_reads_are_left_alone():
    assert faults(ROOT / "planted.py", f'name = "../x"\npage = "none{MD}"\n') == []


def test_a_page_that_a_string_of_code_names_must_be_there():
    said = "docs/" + f"none{MD}"
    assert faults(ROOT / "planted.py", f'print("see {said}")\n') == [f"no file {said}"]


def test_anchors_are_those_of_github(tmp_path):
    page = tmp_path / f"page{MD}"
    page.write_text(
        "# A `code` and [a link](x)\n## Known, or not?\n## Known, or not?\n"
        "```\n## no heading\n```\n### snake_case - and 1.2\n"
    )
    assert headings(page) == [
        "a-code-and-a-link",
        "known-or-not",
        "known-or-not-1",
        "snake_case---and-12",
    ]
