"""What `import privedge` gives: these names, nothing heavy yet, and no torch for who asks."""

import ast
import inspect
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import privedge
from privedge.identity.roles import Role
from tests.integration.model_server import COHORT, SPEC, Pair
from tests.unit.client import open_parties

ROOT = Path(__file__).resolve().parents[2]
DOOR = (
    *("Answer", "Client", "ClientConfig", "Cohort", "Cost", "Exposure"),
    *("Flaw", "Model", "ModelFacts", "ModelSpec", "Owner", "Prediction", "Predictions"),
    *("PRESETS", "Ran", "RanSpec", "Receipt", "Reply", "__version__", "check_quality", "errors"),
    *("preset", "train"),
)

# As if none of these were installed: whatever asks for one fails.
WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        missing = {"torch", "crypten", "sqlalchemy", "sklearn", "matplotlib", "jinja2"}
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def fresh(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`code` in a process of its own, which may import grpc whenever it likes."""
    environment = {name: value for name, value in os.environ.items() if "GRPC" not in name}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def loaded_after(statement: str) -> set[str]:
    done = fresh(f"{statement}\nimport sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


# --- Names ----------------------------------------------------------------------------------------


def test_the_door_has_these_names_and_shows_them():
    assert tuple(sorted(privedge.__all__)) == tuple(sorted(DOOR))
    assert sorted(dir(privedge)) == sorted(DOOR)
    assert all(getattr(privedge, name) is not None for name in DOOR)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = privedge.nonsense


def test_every_name_can_be_imported_by_name_and_all_at_once():
    done = fresh(f"from privedge import {', '.join(DOOR)}\nfrom privedge import *\nprint(train)")
    assert done.returncode == 0, done.stderr


def test_type_checkers_and_the_interpreter_see_the_same_names():
    tree = ast.parse((ROOT / "privedge" / "__init__.py").read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        (alias.name, node.module)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name for name, _ in typed} == set(DOOR) - {"__version__"}
    homes = {(name, getattr(privedge, name)) for name, home in typed if home != "privedge"}
    for name, value in homes:
        home = dict(typed)[name]
        assert getattr(sys.modules[home], name) is value


@pytest.mark.parametrize("name", sorted(set(DOOR) - {"__version__", "PRESETS", "errors"}))
def test_every_name_is_documented_where_it_is_defined(name):
    documented = inspect.getdoc(getattr(privedge, name))
    assert documented and not documented.startswith(f"{name}(")  # what a dataclass makes up itself


@pytest.mark.parametrize("kind", [privedge.Client, privedge.Owner, privedge.Ran])
def test_every_public_method_says_what_it_raises(kind):
    methods = [
        method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name != "close"
    ]
    assert methods and all("Raises:" in inspect.getdoc(method) for method in methods)


# --- Nothing heavy --------------------------------------------------------------------------------


def test_importing_privedge_loads_nothing_heavy():
    loaded = loaded_after("import privedge, sys; dir(privedge); privedge.__version__")
    heavy = {"numpy", "grpc", "PIL", "pydantic", "torch", "cryptography", "privedge.config"}
    assert "privedge" in loaded and loaded & heavy == set()


def test_no_name_loads_torch_before_it_is_called():
    loaded = loaded_after("import privedge; [getattr(privedge, name) for name in dir(privedge)]")
    assert "privedge.user.train" in loaded
    assert loaded & {"torch", "crypten", "sqlalchemy", "sklearn", "matplotlib"} == set()


def test_a_client_loads_nothing_of_an_owner_and_nobody_anything_of_a_server():
    client = loaded_after("import privedge; privedge.Client")
    assert {name for name in client if name.startswith("privedge.user")} == set()
    both = loaded_after("import privedge; privedge.Client; privedge.Owner")
    assert {"parties", "parties.mpc", "privedge_lab.reference", "privedge_lab"} & both == set()


# --- TLS 1.3, whatever is imported first ----------------------------------------------------------

CONFIG = """
import pathlib
config = privedge.ClientConfig(
    party0="127.0.0.1:1", party1="127.0.0.1:2",
    tls=dict(ca=sys.argv[1], certificate=sys.argv[2], key=sys.argv[3]),
)
try:
    privedge.Client(config).close()
    print("made")
except privedge.errors.ConfigError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize(
    ("order", "outcome"),
    [
        ("import sys, privedge, grpc", "made"),
        ("import sys, privedge; privedge.Client; import grpc", "made"),
        ("import sys, grpc, privedge", "refused: grpc was imported before privedge"),
    ],
)
def test_tls_1_2_is_never_accepted_whichever_is_imported_first(tls_for, order, outcome):
    tls = tls_for(Role.CLIENT, "carla")
    done = fresh(order + CONFIG, tls.ca, tls.certificate, tls.key)
    assert done.stderr == "" and done.stdout.count("\n") == 1
    assert done.stdout.startswith(outcome)


# --- Without torch --------------------------------------------------------------------------------

MAIN = WITHOUT + "from privedge.cli.main import main; main()"


@pytest.fixture
def face(tmp_path) -> Path:
    path = tmp_path / "face.png"
    Image.fromarray(open_parties.PICTURES[1]).save(path)
    return path


def test_asking_needs_no_torch(tmp_path, face):
    with open_parties.serving() as parties:
        asked = ("--cohort", open_parties.COHORT, "--config", parties.config_file(tmp_path))
        query = fresh(MAIN, "query", face, *asked)
        verify = fresh(MAIN, "verify", face, "--owner", "bo", *asked)
    assert (query.returncode, query.stderr, query.stdout) == (0, "", f"{face}: bo\n")
    assert (verify.returncode, verify.stderr, verify.stdout) == (0, "", f"{face}: yes\n")


def test_a_folder_can_be_asked_about_and_a_full_disk_is_one_line(tmp_path, face):
    with open_parties.serving() as parties:
        asked = ("--cohort", open_parties.COHORT, "--config", str(parties.config_file(tmp_path)))
        folder = fresh(MAIN, "query", face.parent, *asked)
        with Path("/dev/full").open("w") as full:
            lost = subprocess.run(
                [sys.executable, "-c", MAIN, "query", str(face), *asked],
                cwd=ROOT,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
    assert folder.stdout == f"{face}: bo\n"
    assert folder.stderr == f"privedge: WARNING: {tmp_path}: 1 file passed over (.toml)\n"
    assert lost.returncode == 1
    assert lost.stderr.count("\n") == 1 and "No space left on device" in lost.stderr


def test_uploading_listing_and_deleting_need_no_torch(tmp_path, tls_for):
    parameters = {name: np.zeros(shape, np.float32) for name, shape in SPEC.parameters().items()}
    privedge.Ran(SPEC, "ana", parameters).save(tmp_path / "ana.ran")
    with ExitStack() as stack:
        pair = Pair(tmp_path, tls_for, stack)
        tls = tls_for(Role.OWNER, "ana")
        config = tmp_path / "owner.toml"
        config.write_text(
            f'party0 = "127.0.0.1:{pair.ports[0]}"\nparty1 = "127.0.0.1:{pair.ports[1]}"\n'
            f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
        )
        last = ("--config", config)
        uploaded = fresh(MAIN, "upload", tmp_path / "ana.ran", "--cohort", COHORT, *last)
        assert (uploaded.returncode, uploaded.stderr) == (0, "")
        model_id = uploaded.stdout.partition(":")[0]
        assert model_id in fresh(MAIN, "models", "list", *last).stdout
        deleted = fresh(MAIN, "models", "delete", model_id, *last)
        assert (deleted.returncode, deleted.stderr) == (0, "")


def test_making_certificates_needs_no_torch_and_training_says_what_it_needs(tmp_path, face):
    for words in (("init", tmp_path / "certs"), ("issue", tmp_path / "certs", "owner", "ana")):
        done = fresh(MAIN, "certs", *words)
        assert (done.returncode, done.stderr) == (0, "")
    trained = fresh(MAIN, "train", face, "--owner", "ana", "--out", tmp_path / "ana.ran")
    assert trained.returncode == 1 and trained.stderr.count("\n") == 1
    assert "pip install 'privedge[train]'" in trained.stderr
    called = fresh(WITHOUT + f"import privedge; privedge.train({str(face)!r}, owner='ana')")
    assert called.stderr.splitlines()[-1].endswith("pip install 'privedge[train]'")
    assert "MissingExtra" in called.stderr
