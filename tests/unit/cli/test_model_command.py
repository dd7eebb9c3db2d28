"""`privedge model export` and `inspect`: a secret file, a public graph, and nothing replaced."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import CheckpointError, ImageError
from privedge.graph.spec import ModelSpec
from tests.onnx_files import saved, tensor


@pytest.fixture
def net(tmp_path: Path) -> Path:
    weights = [tensor("w", np.full((2, 4), 3.0)), tensor("b", np.zeros(2))]
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    return saved(tmp_path / "My_Net.onnx", nodes, weights, shape=("n", 4))


def run(*arguments: object):
    return CliRunner().invoke(build("model"), ["model", *map(str, arguments)])


def exported(net: Path, *more: object):
    folder = net.parent
    named = ["--owner", "ana", "--out", folder / "net.model", "--graph", folder / "net.json"]
    return run("export", net, *named, *more)


def test_a_graph_and_a_model_are_written(net: Path) -> None:
    done = exported(net, "--outputs", "rounded:3", "--labels", "no,yes", "--json")
    said = json.loads(done.stdout)
    spec = ModelSpec.from_json((net.parent / "net.json").read_text())
    assert (spec.name, spec.outputs.word, spec.labels) == ("my-net", "rounded:3", ("no", "yes"))
    assert (said["digest"], said["parameters"], said["owner"]) == (spec.digest(), 10, "ana")
    assert (net.parent / "net.json").stat().st_mode & 0o777 == 0o644
    assert (net.parent / "net.model").stat().st_mode & 0o777 == 0o600


def test_a_name_is_made_of_the_files_and_labels_have_no_spaces_around(net: Path) -> None:
    odd = net.rename(net.parent / "Net 1 (final)!.onnx")
    exported(odd, "--labels", " no , yes,")
    assert not (net.parent / "net.json").exists()  # an empty label
    exported(odd, "--labels", " no , yes")
    spec = ModelSpec.from_json((net.parent / "net.json").read_text())
    assert (spec.name, spec.labels) == ("net-1-final", ("no", "yes"))


def test_nothing_is_replaced_unless_told(net: Path) -> None:
    (net.parent / "net.json").write_text("precious")
    refused = exported(net).exception
    assert isinstance(refused, CheckpointError)
    assert "--force" in str(refused)
    assert (net.parent / "net.json").read_text() == "precious"
    assert not (net.parent / "net.model").exists()
    assert exported(net, "--force").exit_code == 0


def test_inspect_shows_layers_and_how_large_values_become(net: Path) -> None:
    exported(net)
    np.savez(net.parent / "x.npz", inputs=np.full((5, 4), 0.5))
    shown = run("inspect", net.parent / "net.model", "--inputs", net.parent / "x.npz")
    assert "inputs of 4; model my-net answers with label" in shown.stdout
    assert "   0  dense          2             up to 6\n" in shown.stdout
    assert "warning" not in shown.output
    np.savez(net.parent / "x.npz", inputs=np.full((5, 4), 200.0))
    shown = run("inspect", net.parent / "net.model", "--inputs", net.parent / "x.npz")
    assert "warning: values come near 32768" in shown.output
    assert (
        "warning: these inputs reach 200, and clients can ask with values below 64" in shown.output
    )


def test_other_inputs_are_refused(net: Path) -> None:
    exported(net)
    np.savez(net.parent / "x.npz", inputs=np.zeros((5, 3)))
    refused = run("inspect", net.parent / "net.model", "--inputs", net.parent / "x.npz").exception
    assert isinstance(refused, ImageError)
