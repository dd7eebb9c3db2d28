"""Nothing that turns bytes into code is anywhere in the project: no pickle, no eval, no exec.

test_house.py reads the same trees for the modules it knows by name; here the rule itself is
tried on samples first, so that a check which sees nothing would be noticed.
"""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for name in ("privedge", "parties", "lab") for path in (ROOT / name).rglob("*.py")
)

MODULES = {
    "_pickle", "cloudpickle", "dill", "joblib", "marshal", "multiprocessing", "pickle", "shelve",
}  # fmt: skip
NAMES = {
    "torch.load", "torch.save", "torch.jit.load", "torch.multiprocessing", "crypten.load",
    "crypten.save", "concurrent.futures.process", "futures.ProcessPoolExecutor",
    "concurrent.futures.ProcessPoolExecutor",
}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__"}


def found(source: str) -> set[str]:
    """What in `source` could run code out of data."""
    hits: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=imported):
                hits |= suspects(name.name for name in imported)
            case ast.ImportFrom(module=str(module), names=imported):
                hits |= suspects([module, *(f"{module}.{name.name}" for name in imported)])
            case ast.Attribute():
                hits |= suspects([ast.unparse(node)])
            case ast.Call(func=ast.Name(id=name)):
                hits |= CALLS & {name}
            case ast.keyword(arg="allow_pickle", value=value) if ast.unparse(value) != "False":
                hits.add("allow_pickle")
    return hits


def suspects(names: Iterable[str]) -> set[str]:
    return {name for name in names if name in NAMES or name.partition(".")[0] in MODULES}


@pytest.mark.parametrize(
    "sample",
    [
        "import pickle",
        "import os, dill as d",
        "from multiprocessing.pool import Pool",
        "from torch import load",
        "import torch.multiprocessing as mp",
        "from torch import multiprocessing",
        "x = torch.load(path, weights_only=True)",
        "f = torch.save",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=anything)",
        "eval('1')",
        "exec(text)",
        "import marshal",
        "futures.ProcessPoolExecutor()",
    ],
)
def test_the_rule_sees_what_it_is_there_for(sample):
    assert found(sample)


@pytest.mark.parametrize(
    "sample",
    ["np.load(path, allow_pickle=False)", "model.eval()", "re.compile(x)", "import json, torch"],
)
def test_the_rule_leaves_harmless_code_alone(sample):
    assert not found(sample)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_data_becomes_code(path):
    assert found(path.read_text()) == set()
