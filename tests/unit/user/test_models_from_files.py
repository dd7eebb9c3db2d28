"""Models to serve, from ONNX and from torch: read as data, up to rounding the same, or refused."""

import stat
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
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


# Of a sensor: three axes, 128 steps.
SIGNALS = nn.Sequential(
    nn.Conv1d(3, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2),
    nn.Conv1d(8, 8, 3, stride=2), nn.ReLU(), nn.AvgPool1d(3), nn.MaxPool1d(3, stride=2),
    nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 6),
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
        (SIGNALS, (3, 128)),
    ],
    ids=["logistic", "normalised", "lenet", "by hand", "signals"],
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
        (node("Conv", "x", "w", pads=[0, 0, 1, 1]), "not the same padding on both sides"),
        (node("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2]), "pads automatically"),
        (node("Conv", "x", "w", auto_pad="SOME"), "auto_pad is none of ONNX's"),
        (node("Conv", "x", "w", strides=[1, 2]), "one stride for all"),
        (node("Conv", "x", "u"), "weights are for 5 channels, not 3"),
        (node("Conv", "x", "l"), "weights have other dimensions than its input"),
        (node("Conv", "x", "w", kernel_shape=[5, 5]), "another size than its weights"),
        (node("Conv", "x", "x"), "weights must be numbers in the file"),
        (node("Conv", "w", "w"), "neither a layer's output nor the input"),
        (node("MaxPool", "x", kernel_shape=[9, 9]), "window: Input should be less than or equal"),
        (node("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=1), "must be|has groups"),
        (node("Flatten", "x", axis=2), "must flatten one sample"),
        (node("Reshape", "x", "w"), "must flatten one sample"),
        (node("Reshape", "x", "half"), "flatten one sample to one dimension, and keep the batch"),
        (node("Reshape", "x", "no batch"), "flatten one sample .*, and keep the batch"),
        (node("Reshape", "x", "flat", allowzero=1), "flatten one sample .*, and keep the batch"),
        (node("Pow", "x", "half"), "must be a square"),
        (node("Pow", "x", "x"), "must be a square"),
        (node("Cast", "x", to=7), "must be to float or double"),
        (node("Dropout", "x", "", "true"), "is trained"),
        (node("Gemm", "x", "m"), "needs one dimension, got .*; flatten it"),
        (node("MatMul", "x", "scalar"), "must be a matrix"),
        (node("Relu", "w"), "neither a layer's output nor the input"),
        (node("Relu", "y"), "neither a layer's output nor the input"),
        (node("Relu", "z"), "neither a layer's output nor the input"),
        (node("Relu"), "neither a layer's output nor the input"),
        (helper.make_node("Relu", ["x"], ["x"]), "the name of another value"),
        (helper.make_node("Relu", ["x"], ["w"]), "the name of another value"),
        (helper.make_node("Relu", ["x"], []), "must have one output"),
        (helper.make_node("Relu", ["x"], ["y", "z"]), "must have one output"),
        (node("Mul", "x", "w"), "neither a layer's output nor the input"),
        (node("Gemm", "x", "w", alpha=2.0), "has factors"),
        (node("If", "x", then_branch=helper.make_graph([], "g", [], [])), "graphs in graphs"),
        (helper.make_node("Relu", ["x"], ["y"], domain="custom"), "another domain"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.op_type,
)
def test_an_operation_is_read_only_as_it_is_usual(tmp_path, operation, said):
    weights = [
        tensor("w", np.ones((4, 3, 3, 3))), tensor("u", np.ones((4, 5, 3, 3))),
        tensor("l", np.ones((4, 3, 3))), tensor("m", np.ones((8, 2))), tensor("scalar", 1.0),
        numpy_helper.from_array(np.array([-1, 96]), "half"),
        numpy_helper.from_array(np.array([5, -1]), "no batch"),
        numpy_helper.from_array(np.array([0, -1]), "flat"),
        numpy_helper.from_array(np.array(True), "true"),
    ]  # fmt: skip
    refused(tmp_path, [operation], weights, said)


def refused(folder: Path, nodes, weights, said: str, *, shape=("n", 3, 8, 8)) -> None:
    """In one line of plain letters."""
    path = saved(folder / "x.onnx", nodes, weights, shape=shape)
    with pytest.raises(CheckpointError, match=said) as error:
        Model.from_onnx(path, owner="ana", name="net")
    assert str(error.value).isprintable() and len(str(error.value)) < 300


ODD = [7, [1.0], "1", 1.5, tensor("t", [1.0]), [1, 1, 1], [2**40, 2**40], [-3, -3]]


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(value)[:12].strip())
@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("Conv", "kernel_shape"), ("Conv", "pads"), ("Conv", "strides"), ("Conv", "dilations"),
        ("Conv", "group"), ("Conv", "auto_pad"), ("MaxPool", "ceil_mode"), ("Gemm", "alpha"),
        ("Gemm", "transB"), ("MaxPool", "kernel_shape"), ("AveragePool", "kernel_shape"),
        ("BatchNormalization", "epsilon"), ("Flatten", "axis"), ("Reshape", "allowzero"),
        ("Cast", "to"), ("BatchNormalization", "training_mode"),
    ],
)  # fmt: skip
def test_an_option_of_another_type_is_refused_or_read_as_what_it_is(tmp_path, op, name, value):
    ones = [tensor("s", np.ones(4)), numpy_helper.from_array(np.array([0, -1]), "flat")]
    weights = [tensor("w", np.ones((4, 3, 3, 3))), tensor("m", np.ones((192, 2))), *ones]
    inputs = {
        "Conv": ["x", "w"], "Gemm": ["f", "m"], "BatchNormalization": ["c", *"ssss"],
        "Reshape": ["x", "flat"],
    }.get(op, ["x"])  # fmt: skip
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node(op, inputs, ["y"], **{name: value}),
    ]
    path = saved(tmp_path / "x.onnx", nodes, weights, shape=("n", 3, 8, 8))
    with pytest.raises(CheckpointError) as error:  # if it is read, then not as scores
        Model.from_onnx(path, owner="ana", name="net")
    assert str(error.value).isprintable()


def test_names_are_shown_without_control_characters(tmp_path):
    odd = "a\x1b[2J\n\u202eb" * 40
    for nodes, shape in [
        ([helper.make_node(odd, ["x"], ["y"], name=odd)], ("n", 3)),
        ([helper.make_node("Relu", ["x"], ["y"], domain=odd)], ("n", 3)),
        ([helper.make_node("MaxPool", ["x"], ["y"], name=odd, kernel_shape=[2, 2])], ("n", 3)),
        ([helper.make_node("MaxPool", ["x"], ["y"], name=odd, kernel_shape=[4, 4])],
         ("n", 1, 2, 2)),
        ([helper.make_node("Relu", ["x"], ["y"], **{odd: helper.make_graph([], odd, [], [])})],
         ("n", 3)),
    ]:  # fmt: skip
        refused(tmp_path, nodes, [], "a|input", shape=shape)


def test_a_constant_is_added_for_each_channel_and_not_along_another_axis(tmp_path):
    """ONNX broadcasts from the last axis: of a square map a row of numbers is one a column."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["y"]),
    ]
    weight = tensor("w", np.zeros((4, 3, 1, 1)))
    for shape in [(4,), (1, 4), (4, 1), (1, 1, 1, 4), (4, 4, 1)]:
        row = tensor("b", np.ones(shape))
        refused(tmp_path, nodes, [weight, row], "one number for each", shape=("n", 3, 4, 4))
    for shape in [(4, 1, 1), (1, 4, 1, 1), (1,), ()]:
        value = np.broadcast_to(np.arange(4.0).reshape(-1, 1, 1), (4, 1, 1))
        column = tensor("b", value.reshape(shape) if np.prod(shape) == 4 else np.full(shape, 2.0))
        path = saved(tmp_path / "x.onnx", nodes, [weight, column], shape=("n", 3, 4, 4))
        bias = Model.from_onnx(path, owner="ana", name="net").parameters["0.bias"]
        assert bias.tolist() == ([0, 1, 2, 3] if np.prod(shape) == 4 else [2, 2, 2, 2])


def test_a_value_that_is_the_output_too_is_not_folded_into(tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["y"]),
        helper.make_node("BatchNormalization", ["y", *"ssss"], ["z"]),
    ]
    weights = [tensor("w", np.ones((3, 4))), tensor("s", np.ones(4))]
    refused(tmp_path, nodes, weights, "must follow a layer that nothing else reads", shape=("n", 3))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"w": np.full((3, 4), np.nan)}, "parameter 0.weight is not finite"),
        ({"s": np.full(4, 1e300)}, "not finite"),
        ({"v": np.full(4, -1.0)}, "variance that is not above 0"),
        ({"v": np.full(4, np.nan)}, "variance that is not above 0"),
        ({"v": np.ones(3)}, "one number for each channel or feature"),
        ({"w": np.ones((2, 4))}, "weights are for 2 values, not 3"),
    ],
    ids=["nan", "overflow", "negative", "nan variance", "length", "shape"],
)
def test_numbers_that_mean_nothing_are_refused(tmp_path, changed, said):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "s", "b", "b", "v"], ["y"]),
    ]
    values = {"w": np.ones((3, 4)), "s": np.ones(4), "b": np.ones(4), "v": np.ones(4), **changed}
    weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
    refused(tmp_path, nodes, weights, said, shape=("n", 3))


def damaged(change) -> onnx.TensorProto:
    made = tensor("w", np.ones((3, 4)))
    change(made)
    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda made: made.ClearField("raw_data"),
        lambda made: made.dims.append(2),
        lambda made: setattr(made, "data_type", 99),
        lambda made: setattr(made, "data_type", 8),
        lambda made: setattr(made, "data_type", 0),
        lambda made: made.dims.__setitem__(0, -1),
        lambda made: made.dims.__setitem__(0, 1 << 40),
        lambda made: made.segment.MergeFrom(onnx.TensorProto.Segment(begin=1, end=2)),
    ],
    ids=["no data", "too few", "type 99", "texts", "type 0", "negative", "huge", "segment"],
)
def test_a_damaged_constant_is_refused(tmp_path, change):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    said = "damaged|must be numbers in the file|more than"
    refused(tmp_path, nodes, [damaged(change)], said, shape=("n", 3))


def test_parameters_are_counted_before_there_are_too_many_of_them(tmp_path):
    """One constant that many operations read would be copied for each."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    weight = tensor("w", np.zeros((2900, 2900)))
    refused(tmp_path, nodes, [weight], "with it, parameters are more than", shape=("n", 2900))


def test_a_graph_of_hundreds_of_operations_is_refused(tmp_path):
    nodes = [helper.make_node("Relu", [f"v{at}"], [f"v{at + 1}"]) for at in range(600)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    refused(tmp_path, nodes, [], "more than 512 operations", shape=("n", 3))
    refused(tmp_path, [*nodes[:200], nodes[-1]], [], "neither", shape=("n", 3))
    nodes[199].output[0] = "y"
    refused(tmp_path, nodes[:200], [], "layers: Tuple should have at most 128", shape=("n", 3))


def test_what_older_exporters_mean_by_options_is_not_guessed(tmp_path):
    path = saved(tmp_path / "x.onnx", [helper.make_node("Relu", ["x"], ["y"])], shape=("n", 3))
    model = onnx.load(path)
    model.opset_import[0].version = 6
    with pytest.raises(CheckpointError, match="no opset of 7 or later; export it again"):
        Model.from_onnx(model.SerializeToString(), owner="ana", name="net")


def test_what_other_tools_write_is_read(tmp_path):
    """Casts at the start, automatic padding that is even, biases of one number, and squares."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=1),
        helper.make_node("Conv", ["a", "w", "b"], ["c"], auto_pad="SAME_LOWER"),
        helper.make_node("Pow", ["c", "two"], ["d"]),
        helper.make_node("AveragePool", ["d"], ["e"], kernel_shape=[2, 2], auto_pad="VALID"),
        helper.make_node("Reshape", ["e", "flat"], ["f"]),
        helper.make_node("Gemm", ["f", "m", "one"], ["y"], transB=1),
    ]
    draw = np.random.default_rng(1)
    weights = [
        tensor("w", draw.normal(size=(2, 1, 3, 3))), tensor("b", draw.normal(size=2)),
        tensor("m", draw.normal(size=(3, 18))), tensor("one", [0.5]), tensor("two", 2.0),
        numpy_helper.from_array(np.array([-1, 18]), "flat"),
    ]  # fmt: skip
    path = saved(tmp_path / "x.onnx", nodes, weights, shape=("n", 1, 4, 4))
    model = Model.from_onnx(path, owner="ana", name="net", outputs="scores")
    x = draw.normal(size=(3, 1, 4, 4)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    given = {name: value.astype(np.float64) for name, value in model.parameters.items()}
    assert np.abs(clear(model.spec, given, x) - expected).max() < 1e-4


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


def test_a_module_is_left_in_the_modes_that_its_parts_were_in():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten()).eval()
    module.training = True  # as of what is cut out of a larger module
    Model.from_torch(module, (1, 8, 8), owner="ana", name="net")
    assert [each.training for each in module.modules()] == [True, False, False, False]
