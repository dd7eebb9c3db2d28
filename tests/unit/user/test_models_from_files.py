"""Models to serve, from ONNX and from torch: read as data, up to rounding the same, or refused."""

import stat
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from privedge.errors import CheckpointError, RangeError
from privedge.user import checkpoint, served_model
from privedge.user.sealed import Lock
from privedge.user.served_model import Model
from tests.onnx_files import saved, tensor
from tests.unit.mpc.crypten_programs.serving import clear


class Residual(nn.Module):
    """Two branches, batch normalisation, a global mean, and a flattening by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        return self.last(torch.relu(x + self.second(x)) ** 1 + x * x)


class ByHand(nn.Module):
    """A dense layer written as a product, a sum and a square."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(6, 5)), nn.Parameter(torch.rand(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.view(x.size(0), -1) @ self.weight + self.bias
        return x * x


LENET = nn.Sequential(
    nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5, stride=2),
    nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 20), nn.Dropout(), nn.Linear(20, 10),
)  # fmt: skip


def trained(module: nn.Module, *shape: int) -> nn.Module:
    """Statistics of batch normalisation that are not those of a fresh one."""
    torch.manual_seed(1)
    module(torch.randn(16, *shape))
    return module


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Sequential(nn.Linear(20, 3)), (20,)),
        (nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 1)), (7,)),
        (LENET, (1, 28, 28)),
        (ByHand(), (2, 1, 3)),
    ],
    ids=["logistic", "normalised", "lenet", "by hand"],
)
def test_what_is_read_computes_what_torch_does(module, shape):
    trained(module, *shape)
    model = Model.from_torch(module, shape, owner="ana", name="net", outputs="scores")
    x = np.random.default_rng(1).uniform(-1, 1, (4, *shape))
    given = {name: value.astype(np.float64) for name, value in model.parameters.items()}
    with torch.no_grad():
        expected = module.eval()(torch.tensor(x, dtype=torch.float32)).numpy()
    assert np.abs(clear(model.spec, given, x) - expected).max() < 1e-4
    # The owner's own computation in the clear, with no torch.
    assert model.largest(x)[-1] == pytest.approx(np.abs(expected).max(), abs=1e-4)
    assert len(model.largest(x)) == len(model.spec.layers)


def test_a_residual_network_is_read_with_its_branches():
    class Plain(Residual):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.norm(self.first(x)))
            return self.last(torch.relu(x + self.second(x)))

    module = trained(Plain(), 3, 9, 9)
    model = Model.from_torch(module, (3, 9, 9), owner="ana", name="net", outputs="scores")
    assert [layer.kind for layer in model.spec.layers] == [
        "conv", "relu", "conv", "add", "relu", "average_pool", "flatten", "dense",
    ]  # fmt: skip
    x = np.random.default_rng(1).uniform(-1, 1, (4, 3, 9, 9))
    given = {name: value.astype(np.float64) for name, value in model.parameters.items()}
    with torch.no_grad():
        expected = module.eval()(torch.tensor(x, dtype=torch.float32)).numpy()
    assert np.abs(clear(model.spec, given, x) - expected).max() < 1e-4
    assert model.largest(x)[-1] == pytest.approx(np.abs(expected).max(), abs=1e-4)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)), "operation Softmax .* leave it out"),
        (nn.Sequential(nn.Linear(4, 2), nn.Tanh()), "operation Tanh .*: is not on the list"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4)), "must follow a convolution or a dense layer"),
        (nn.LSTM(4, 2), "one input and one output"),
        (Residual(), "the module cannot be traced"),
    ],
    ids=["softmax", "tanh", "alone", "lstm", "not traced"],
)
def test_what_is_not_on_the_list_is_refused_by_name(module, said):
    with pytest.raises(CheckpointError, match=said) as refused:
        Model.from_torch(module, (4,), owner="ana", name="net")
    assert "\n" not in str(refused.value)


def node(op: str, *inputs: str, **options: object) -> onnx.NodeProto:
    return helper.make_node(op, list(inputs), ["y"], **options)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (node("Conv", "x", "w", group=3), "groups"),
        (node("Conv", "x", "w", dilations=[2, 2]), "dilation"),
        (node("Conv", "x", "w", pads=[0, 0, 1, 1]), "uneven padding"),
        (node("Conv", "x", "w", auto_pad="SAME_UPPER"), "automatic"),
        (node("Conv", "x", "w", strides=[1, 2]), "one stride for both"),
        (node("Conv", "x", "w", kernel_shape=[5, 5]), "another size than its weights"),
        (node("Conv", "x", "x"), "weights must be numbers in the file"),
        (node("Conv", "w", "w"), "neither a layer's output nor the input"),
        (node("MaxPool", "x", kernel_shape=[9, 9]), "window: Input should be less than or equal"),
        (node("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=1), "must be|has groups"),
        (node("Flatten", "x", axis=2), "must flatten one sample"),
        (node("Reshape", "x", "w"), "must flatten one sample"),
        (node("Mul", "x", "w"), "neither a layer's output nor the input"),
        (node("Gemm", "x", "w", alpha=2.0), "has factors"),
        (node("If", "x", then_branch=helper.make_graph([], "g", [], [])), "graphs in graphs"),
        (helper.make_node("Relu", ["x"], ["y"], domain="custom"), "another domain"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.op_type,
)
def test_an_operation_is_read_only_as_it_is_usual(tmp_path, operation, said):
    weight = tensor("w", np.ones((4, 3, 3, 3)))
    path = saved(tmp_path / "x.onnx", [operation], [weight], shape=("n", 3, 8, 8))
    with pytest.raises(CheckpointError, match=said):
        Model.from_onnx(path, owner="ana", name="net")


def test_a_layer_that_something_else_reads_is_not_folded_into(tmp_path):
    weights = [tensor("w", np.ones((3, 4))), tensor("b", np.ones(4))]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    path = saved(tmp_path / "x.onnx", nodes, weights, shape=("n", 3))
    with pytest.raises(CheckpointError, match="must follow a layer that nothing else reads"):
        Model.from_onnx(path, owner="ana", name="net")


@pytest.mark.parametrize("reader", ["", "mask"])
def test_a_dropout_may_have_a_mask_that_nothing_reads(tmp_path, reader):
    """As CrypTen makes torch write them, in a process that has loaded it."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"]),
        helper.make_node("Dropout", ["a"], ["y" if not reader else "d", "mask"]),
    ]
    nodes += [helper.make_node("Add", ["d", reader], ["y"])] if reader else []
    path = saved(tmp_path / "x.onnx", nodes, [tensor("w", np.ones((3, 4)))], shape=("n", 3))
    if not reader:
        assert len(Model.from_onnx(path, owner="ana", name="net").spec.layers) == 1
        return
    with pytest.raises(CheckpointError):
        Model.from_onnx(path, owner="ana", name="net")


def test_parameters_in_another_file_are_not_opened(tmp_path):
    weight = tensor("w", np.ones((3, 4)))
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="/etc/passwd")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [weight],
    )
    raw = helper.make_model(graph).SerializeToString()
    with pytest.raises(CheckpointError, match="save the model as one file"):
        Model.from_onnx(raw, owner="ana", name="net")


@pytest.mark.parametrize("raw", [b"", b"no onnx", b"\x80\x04."])
def test_what_is_no_onnx_file_is_refused(raw):
    with pytest.raises(CheckpointError):
        Model.from_onnx(raw, owner="ana", name="net")


def test_parameters_must_fit_the_ring():
    module = nn.Sequential(nn.Linear(2, 2))
    nn.init.constant_(module[0].weight, 40_000.0)
    with pytest.raises(RangeError, match=r"net: 0\.weight"):
        Model.from_torch(module, (2,), owner="ana", name="net")


@pytest.fixture
def model() -> Model:
    return Model.from_torch(nn.Sequential(nn.Linear(20, 3)), (20,), owner="ana", name="net")


def test_a_file_is_private_and_its_graph_has_no_parameters(tmp_path: Path, model: Model) -> None:
    model.save(tmp_path / "net.model")
    model.save_graph(tmp_path / "net.json")
    assert stat.S_IMODE((tmp_path / "net.model").stat().st_mode) == 0o600
    assert (tmp_path / "net.json").read_text() == f"{model.spec.to_json()}\n"
    back = served_model.load(tmp_path / "net.model")
    assert isinstance(back, Model)
    assert (back.spec, back.owner) == (model.spec, "ana")
    for name, value in model.parameters.items():
        assert np.array_equal(back.parameters[name], value)
    assert "0.weight" not in repr(back)


def test_a_file_may_be_encrypted(tmp_path: Path, model: Model) -> None:
    model.save(tmp_path / "net.model", lock=Lock.of("correct horse", None))
    with pytest.raises(CheckpointError, match="encrypted"):
        served_model.load(tmp_path / "net.model")
    back = served_model.require_model(tmp_path / "net.model", Lock.of("correct horse", None))
    assert back.spec == model.spec


def test_a_model_is_no_ran(tmp_path: Path, model: Model) -> None:
    model.save(tmp_path / "net.model")
    with pytest.raises(CheckpointError, match="is a model to serve, and no RAN"):
        checkpoint.load(tmp_path / "net.model")
