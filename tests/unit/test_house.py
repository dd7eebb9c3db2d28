"""The rules of the house that no other tool checks: packaging, lock, layout, documents."""

import ast
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import parties
import privedge
import privedge_lab

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    path
    for folder in ("privedge", "parties", "lab/privedge_lab")
    for path in sorted((ROOT / folder).rglob("*.py"))
    # `pip install ./parties` leaves a build folder in the package.
    if not {"wire", "build"} & {*path.relative_to(ROOT).parts}
]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVERS = tomllib.loads((ROOT / "parties/pyproject.toml").read_text())
LABORATORY = tomllib.loads((ROOT / "lab/pyproject.toml").read_text())
OWN = {"privedge", "privedge-parties", "privedge-lab"}
LOCK = [
    line
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if not line.startswith("#")
]
PINS = {canonicalize_name(name): version for name, version in (line.split("==") for line in LOCK)}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def declared() -> list[Requirement]:
    """What the distributions need, each other left out."""
    groups = [each["project"]["dependencies"] for each in (PYPROJECT, SERVERS, LABORATORY)]
    groups += PYPROJECT["project"]["optional-dependencies"].values()
    needed = [Requirement(line) for group in groups for line in group]
    return [each for each in needed if each.name not in OWN]


# --- Licence, lock and packages -------------------------------------------------------------------


def test_the_licence_is_apache_2_0_word_for_word():
    digest = hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert PYPROJECT["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("line", LOCK)
def test_a_line_of_the_lock_is_a_name_and_a_version_and_nothing_else(line):
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_every_declared_dependency_is_in_the_lock_and_inside_its_range(requirement):
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


# CrypTen's metadata asks for what its core never imports (docs/adr/0002).
@pytest.mark.parametrize("name", sorted(set(PINS) - {"crypten"}))
def test_the_lock_is_closed(name):
    for line in importlib.metadata.requires(name) or ():
        needed = Requirement(line)
        applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
        of_an_accelerator = needed.name.startswith(("nvidia-", "cuda-", "triton"))
        if applies and not of_an_accelerator:
            assert needed.specifier.contains(PINS[canonicalize_name(needed.name)]), line


def test_crypten_has_the_same_version_wherever_it_is_named():
    files = [ROOT / "Makefile", *DOCUMENTS, *SOURCES]
    files += [ROOT / "parties" / name for name in ("pyproject.toml", "README.md")]
    files.append(ROOT / "lab/README.md")
    named = {
        (name_of(path), version)
        for path in files
        for version in re.findall(r"crypten==([0-9][0-9.]*[0-9])", path.read_text(), re.IGNORECASE)
    }
    assert {version for _, version in named} == {PINS["crypten"]}, named


def wheel_of(project: Path, folders: Iterable[str], scratch: Path) -> tuple[Path, set[str]]:
    """The wheel built of a copy of `project`, and the files in it but its metadata."""
    source, target = scratch / "source", scratch / "dist"
    made = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    for folder in folders:
        shutil.copytree(project / folder, source / folder, ignore=made, dirs_exist_ok=True)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(project / file, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, source]
    subprocess.run(build, check=True, capture_output=True)
    path = next(target.glob("*.whl"))
    with zipfile.ZipFile(path) as wheel:
        return path, {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_the_wheel_has_types_but_neither_servers_nor_laboratory_nor_tests(tmp_path):
    path, inside = wheel_of(ROOT, ("privedge",), tmp_path)
    code = {name for name in map(name_of, SOURCES) if name.startswith("privedge/")}
    assert code and (code | {"privedge/py.typed"}) <= inside
    assert {name.partition("/")[0] for name in inside} == {"privedge"}
    assert path.stat().st_size < 400_000


def test_the_servers_wheel_has_every_package_and_the_samples_and_nothing_else(tmp_path):
    _, inside = wheel_of(ROOT / "parties", (".",), tmp_path)
    samples = {name_of(path) for path in (ROOT / "parties/samples").glob("*.toml")}
    code = {name for name in map(name_of, SOURCES) if name.startswith("parties/")}
    generated = {name for name in inside if name.startswith("parties/wire/")}
    assert samples and code and generated
    assert inside - generated == samples | code


def test_the_laboratorys_wheel_has_its_pages_and_samples(tmp_path):
    _, inside = wheel_of(ROOT / "lab", ("privedge_lab",), tmp_path)
    lab = ROOT / "lab"
    data = [
        path for kind in ("j2", "css", "toml") for path in lab.glob(f"privedge_lab/**/*.{kind}")
    ]
    code = [path for path in SOURCES if path.is_relative_to(lab)]
    assert data and code
    assert {str(path.relative_to(lab)) for path in (*data, *code)} <= inside
    assert {name.partition("/")[0] for name in inside} == {"privedge_lab"}


def test_all_distributions_have_one_version_and_ask_for_it():
    version = privedge.__version__
    assert parties.__version__ == privedge_lab.__version__ == version
    assert f"privedge=={version}" in SERVERS["project"]["dependencies"]
    assert f"privedge[train,party]=={version}" in LABORATORY["project"]["dependencies"]
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert extras["party"] == [f"privedge-parties=={version}"]


# --- Makefile and documents -----------------------------------------------------------------------


def test_every_make_target_is_described_in_make_help():
    declared_targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    described = dict(re.findall(r"^ +make ([a-z-]+) +(\S.*)$", listed, re.MULTILINE))
    assert declared_targets is not None
    assert set(declared_targets[1].split()) == set(described)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_what_a_document_points_to_exists(path):
    text = path.read_text()
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    paths = re.findall(r"`((?:docs|lab|parties|privedge|protos|tests|tools)/[^`*<\s]*)`", text)
    missing = [link for link in links if not (path.parent / link).exists()]
    missing += [name for name in paths if not (ROOT / name.partition("::")[0]).exists()]
    assert missing == []


def test_nothing_is_left_to_do_in_the_tree():
    unfinished = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X)\b")
    files = [*SOURCES, *DOCUMENTS, *(ROOT / "tests").rglob("*.py"), *(ROOT / "protos").rglob("*.*")]
    files += [ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run")]
    assert [name_of(path) for path in files if unfinished.search(path.read_text())] == []


# --- Layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_is_longer_than_500_lines(path):
    assert len(path.read_text().splitlines()) <= 500


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_opens_with_its_contract(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_module_is_a_drawer_for_odds_and_ends():
    drawers = {"utils", "util", "helpers", "common", "misc", "constants", "base"}
    assert [name_of(path) for path in SOURCES if drawers & {path.stem, *path.parts}] == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_errors_are_defined_in_one_place_only(path):
    classes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ClassDef)]
    names = {ast.unparse(base) for kind in classes for base in kind.bases}
    is_error = re.compile(r"(\w+\.)*(PrivEdgeError|Refused|\w*Error|\w*Exception)")
    errors = {name for name in names if is_error.fullmatch(name)}
    assert errors == set() or name_of(path) == "privedge/errors.py"


@pytest.mark.parametrize("path", sorted((ROOT / "protos").rglob("*.proto")), ids=name_of)
def test_every_message_service_and_call_of_the_wire_has_a_comment(path):
    lines = path.read_text().splitlines()
    bare = [
        line
        for before, line in pairwise(lines)
        if re.match(r"\s*(message|service|rpc|enum) ", line)
        and not before.strip().startswith(("//", "service "))
    ]
    assert bare == []


def test_every_folder_of_code_is_a_package():
    assert [name_of(p) for p in SOURCES if not (p.parent / "__init__.py").exists()] == []


def test_no_two_files_of_tests_have_one_name():
    # pytest imports a file of tests by its bare name, so the second of two could not be collected.
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


# What an __init__.py may hold beside its docstring.
FLOOR = "from privedge.rpc import tls_floor as tls_floor"
EXTRAS = {
    # The door (tests/unit/test_door.py).
    "privedge/__init__.py": (
        "from importlib import import_module",
        "from typing import TYPE_CHECKING",
        FLOOR,
        "__version__ = ",
        "__all__ = ",
        "if TYPE_CHECKING:",
    ),
    "parties/__init__.py": ("__version__ = ",),
    "lab/privedge_lab/__init__.py": ("__version__ = ",),
    "privedge/rpc/__init__.py": (FLOOR,),
}


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.name == "__init__.py"], ids=name_of
)
def test_a_package_file_holds_its_docstring_only(path):
    _, *rest = ast.parse(path.read_text()).body
    allowed = EXTRAS.get(name_of(path), ())
    assert len(rest) == len(allowed)
    for line, start in zip(rest, allowed, strict=True):
        assert ast.unparse(line).startswith(start)


def through_the_door(tree: ast.AST) -> set[str]:
    """Names of `privedge.__all__` that code takes from the package itself."""
    names = set(privedge.__all__) - {"__version__", "errors"}
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "privedge" and not node.level
        for alias in node.names
    }
    called = {"privedge"} | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "privedge"
    }
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in called
    }
    return (imported | used) & (names | {"*"})


# Import rules do not look behind the door, which names everything.
@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_of_ours_comes_in_by_the_door(path):
    if name_of(path) != "privedge/__init__.py":
        assert through_the_door(ast.parse(path.read_text())) == set()


@pytest.mark.parametrize(
    "code",
    [
        "from privedge import Client",
        "import privedge\nprivedge.train",
        "import privedge as p\np.train",
        "from privedge import *",
    ],
)
def test_whoever_comes_in_by_the_door_is_seen(code):
    assert through_the_door(ast.parse(code))


def modules_after(statement: str) -> set[str]:
    """What a fresh process has loaded once it ran `statement`."""
    probe = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_partys_front_end_loads_neither_torch_nor_anything_that_sees_plaintext():
    loaded = modules_after(
        "import parties.party.server, parties.party.edge.party_servicer"
        ", parties.party.edge.peer_servicer"
    )
    assert "parties.party.edge.party_servicer" in loaded
    forbidden = {
        "torch", "crypten", "parties.mpc", "privedge.user", "privedge.client",
        "privedge_lab.reference",
        "privedge.sharing.split", "privedge.sharing.combine",
    }  # fmt: skip
    assert loaded & forbidden == set()


def test_the_split_server_loads_nothing_of_a_device():
    loaded = modules_after("import privedge_lab.baseline.serving.server")
    assert "privedge_lab.baseline.model_file" in loaded
    forbidden = {
        "crypten", "privedge.user", "privedge.client", "privedge.ran.images",
        "privedge.sharing.split", "privedge.sharing.combine", "privedge_lab.datasets",
        "privedge_lab.attacks", "privedge_lab.baseline.head_file", "privedge_lab.baseline.draws",
        "privedge_lab.baseline.defence", "privedge_lab.baseline.defences",
        "privedge_lab.baseline.train", "privedge_lab.baseline.client",
    }  # fmt: skip
    assert loaded & forbidden == set()


def test_the_command_line_starts_without_loading_torch_or_grpc():
    loaded = modules_after("import privedge.cli.main")
    assert loaded & {"torch", "grpc", "crypten", "numpy", "PIL", "sklearn"} == set()
