"""The pages of docs/ and the README: what they say of the tree and the code is so."""

import importlib
import re
import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from xml.etree import ElementTree

import pytest

import privedge
from parties.wire import dealer_pb2, mpc_pb2, peer_pb2, worker_pb2
from privedge.identity.roles import Role
from privedge.ran.presets import PRESETS, preset
from privedge.rpc.status import STATUS
from privedge.wire import party_pb2

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
PICTURES = sorted(DOCS.rglob("*.svg"))
WIDTH = 120
# The rule of the house is 30 words a sentence. This is where a reader loses the thread.
WORDS = 40


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def links(path: Path) -> set[Path]:
    """The pages that a page links to."""
    found = re.findall(r"\]\((?!https?:)([^)#]+\.md)(?:#[^)]*)?\)", path.read_text())
    return {(path.parent / link).resolve() for link in found}


# --- Form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [README, *PAGES], ids=name_of)
def test_lines_of_a_page_are_wrapped_but_for_tables(path):
    lines = path.read_text().splitlines()
    long = [
        number
        for number, line in enumerate(lines, 1)
        if len(line) > WIDTH and not line.lstrip().startswith("|")
    ]
    assert long == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_a_page_begins_with_its_title_and_has_one(path):
    text = re.sub(r"^<!--.*?-->\n\n", "", path.read_text())
    outside = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert text.startswith("# ")
    assert len(re.findall(r"^# ", outside, re.MULTILINE)) == 1


def sentences(text: str) -> Iterator[str]:
    """The sentences of a page, without code, tables and headings."""
    text = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(    .*|#.*| *\|.*)$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", "Code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    for block in re.split(r"\n\s*\n|^ *(?:[-*]|\d+\.) |^> ?", text, flags=re.MULTILINE):
        yield from re.split(r"(?<=[.!?:;])\s+", " ".join(block.replace("**", "").split()))


def test_sentences_end_where_a_reader_hears_them_end():
    text = "One `a. b` ends. Two\ngoes on; [three](x.md)?\n\n    code. code\n\n- Four: five.\n- Six"
    assert [each for each in sentences(text) if each] == [
        "One Code ends.", "Two goes on;", "three?", "Four:", "five.", "Six",
    ]  # fmt: skip


@pytest.mark.parametrize("path", [README, *PAGES], ids=name_of)
def test_no_sentence_of_a_page_is_endless(path):
    endless = [each for each in sentences(path.read_text()) if len(each.split()) > WORDS]
    assert endless == []


# --- Finding --------------------------------------------------------------------------------------


def test_every_page_is_two_clicks_from_the_index_at_most():
    index = DOCS / "index.md"
    near = {index} | links(index)
    reached = near | {page for path in near if path.exists() for page in links(path)}
    assert [name_of(page) for page in PAGES if page not in reached] == []


def test_the_sidebar_of_the_site_has_every_page_of_the_index():
    sys.path.insert(0, str(DOCS))
    try:
        conf = importlib.import_module("conf")
    finally:
        sys.path.remove(str(DOCS))
    trees = conf.contents((DOCS / "index.md").read_text())
    listed = {(DOCS / f"{page}.md").resolve() for page in re.findall(r"^[\w/-]+$", trees, re.M)}
    assert links(DOCS / "index.md") == listed


# --- In step with the code ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield importlib.import_module("reference")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.mark.parametrize("name", ["cli", "config", "errors", "api"])
def test_a_generated_page_is_what_the_code_says(reference, name):
    path = f"docs/reference/{name}.md"
    assert (ROOT / path).read_text() == reference.PAGES[path]()


def test_the_list_of_decisions_has_them_all(reference):
    path = "docs/adr/index.md"
    assert (ROOT / path).read_text() == reference.PAGES[path]()


def test_every_public_name_has_a_heading_in_the_api_page():
    headings = re.findall(r"^## (\w+)$", (DOCS / "reference/api.md").read_text(), re.MULTILINE)
    assert headings == list(privedge.__all__)


def test_monitoring_has_a_line_for_every_status():
    page = (DOCS / "how-to/monitor.md").read_text()
    listed = set(re.findall(r"^\| ([A-Z_]+) \|", page, re.MULTILINE))
    assert listed == {code.name for code, _ in STATUS.values()}


def test_the_table_of_presets_is_that_of_the_code():
    page = (DOCS / "how-to/choose-a-preset.md").read_text()
    row = r"^\| `([\w-]+)` \| (\d+) x (\d+).*\| (\d+)(?:, (\d+) components)? \| ([\d,]+) \|$"
    rows = re.findall(row, page, re.MULTILINE)
    assert [name for name, *_ in rows] == list(PRESETS)
    for name, height, width, layers, components, parameters in rows:
        spec = preset(name, height=32, width=32, channels=1)
        assert (spec.image.height, spec.image.width) == (int(height), int(width))
        assert len(spec.layers) == int(layers)
        assert getattr(spec.layers[0], "components", None) == (int(components or 0) or None)
        shapes = [shape for each, shape in spec.parameters().items() if each != "threshold"]
        assert sum(map(prod, shapes)) == int(parameters.replace(",", ""))


# --- Pictures -------------------------------------------------------------------------------------


WIRE = [dealer_pb2, mpc_pb2, party_pb2, peer_pb2, worker_pb2]
NAMES = {
    "role": {role.label.removeprefix("the ") for role in Role},
    "rpc": {
        method.name
        for module in WIRE
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    },
    "message": {name for module in WIRE for name in module.DESCRIPTOR.message_types_by_name},
}


def names_in(picture: Path) -> Iterator[tuple[str, str]]:
    """(kind, name) of every text of a picture that names something."""
    for text in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text"):
        kind = text.get("class", "")
        if kind in (*NAMES, "module"):
            yield kind, str(text.text)


@pytest.mark.parametrize("picture", PICTURES, ids=name_of)
def test_every_role_call_message_and_folder_in_a_picture_exists(picture):
    named = set(names_in(picture))
    wrong = [
        name
        for kind, name in named
        if not ((ROOT / name).exists() if kind == "module" else name in NAMES[kind])
    ]
    assert {kind for kind, _ in named} >= {"role", "rpc", "module"}
    assert wrong == []


def test_the_two_pictures_are_on_the_architecture_page_and_readable_in_the_dark():
    page = (DOCS / "explanation/architecture.md").read_text()
    assert {picture.name for picture in PICTURES} == set(re.findall(r"\]\(([\w-]+\.svg)\)", page))
    for picture in PICTURES:
        assert "prefers-color-scheme: dark" in picture.read_text()


# --- The README -----------------------------------------------------------------------------------


def tree() -> list[tuple[str, str]]:
    """(folder above, folder) for each line of the README's tree."""
    found, above = [], ""
    for line in README.read_text().splitlines():
        entry = re.match(r"    (  )?([\w./]+)/ {2,}\S", line)
        if entry is None:
            continue
        if not entry[1]:
            above = entry[2]
        found.append((above if entry[1] else "", entry[2]))
    return found


def folders(path: Path) -> set[str]:
    """The folders in `path` that belong to the project."""
    made = {"build", "dist", "privedge-up", "__pycache__"}
    return {
        entry.name
        for entry in path.iterdir()
        if entry.is_dir()
        and entry.name not in made
        and not entry.name.startswith(".")
        and not entry.name.endswith(".egg-info")
        and any(file.suffix != ".pyc" for file in entry.rglob("*") if file.is_file())
    }


def test_the_tree_in_the_readme_is_the_tree_on_disk():
    listed = tree()
    tops = {name.partition("/")[0] for above, name in listed if not above}
    assert tops == folders(ROOT)
    for package in ("privedge", "parties"):
        below = [name for above, name in listed if above == package]
        assert len(below) == len(set(below))
        assert set(below) == folders(ROOT / package)


def test_the_example_of_the_readme_uses_public_names_only():
    example = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert example is not None
    imported = re.findall(r"^(?:from|import) (.*)$", example[1], re.MULTILINE)
    (line,) = imported
    module, _, names = line.partition(" import ")
    assert module == "privedge"
    assert set(names.split(", ")) <= set(privedge.__all__)
