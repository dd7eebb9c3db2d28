"""Where shares and masks are made, only the operating system and AES give random words."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "privedge/sharing", "privedge/client", "privedge/rpc", "parties", "lab/privedge_lab/disguise",
)  # fmt: skip
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# Of the plaintext baseline what runs on a device that asks; training is seeded and hides nothing.
SOURCES += [ROOT / "lab/privedge_lab/baseline" / name for name in ("client.py", "head_file.py")]

GENERATORS = re.compile(
    r"random(\..*)?|(np|numpy)\.random(\..*)?"
    r"|torch\.(rand|randn|randint|randperm|normal|bernoulli|multinomial|poisson)(_like)?"
    r"|torch\.(Generator|manual_seed|seed|random)(\..*)?"
    r"|.*\.(random_|uniform_|normal_|bernoulli_|exponential_)"
)


def found(source: str) -> set[str]:
    """The predictable generators that `source` names."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=imported):
                names |= {name.name for name in imported}
            case ast.ImportFrom(module=str(module), names=imported):
                names |= {module, *(f"{module}.{name.name}" for name in imported)}
            case ast.Attribute():
                names.add(ast.unparse(node))
    return {name for name in names if GENERATORS.fullmatch(name)}


@pytest.mark.parametrize(
    "sample",
    [
        "import random",
        "from random import getrandbits",
        "from numpy import random",
        "import numpy.random as r",
        "np.random.default_rng(seed)",
        "numpy.random.bytes(8)",
        "torch.randint(0, 9, (3,))",
        "torch.rand_like(x)",
        "from torch import randn",
        "torch.Generator()",
        "x.random_(0, 9)",
        "torch.empty(3).uniform_()",
    ],
)
def test_the_rule_sees_a_predictable_generator(sample):
    assert found(sample)


@pytest.mark.parametrize("sample", ["os.urandom(8)", "secrets.token_bytes(8)", "import torch"])
def test_the_rule_leaves_the_systems_generator_alone(sample):
    assert not found(sample)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_mask_can_be_predicted(path):
    assert found(path.read_text()) == set()
