"""A RAN that is written in CrypTen's own words is the network of a query: tuple by tuple."""

from dataclasses import replace
from typing import Any

import torch

from parties.mpc.crypten_backend.load import crypten
from parties.mpc.crypten_backend.programs import fix
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from parties.mpc.tuples import TupleKind
from privedge.ran.feature_kinds import Pixels
from privedge.ran.spec import Dense, ImageShape, RanSpec, Relu
from privedge.sharing.fixed_point import encode
from tests.unit.mpc.crypten_programs.programs import run as run_program
from tests.unit.mpc.pair import run as run_engine

OWNERS, IMAGES, INNER, SIZE = 4, 2, 12, 64
SPEC = RanSpec(
    name="dense",
    image=ImageShape(height=8, width=8, channels=1),
    features=Pixels(),
    layers=(Dense(features=INNER), Relu(), Dense(features=SIZE)),
)


class Reconstructor(crypten.nn.Module):
    """All owners' networks, as a user of CrypTen writes them."""

    def __init__(self, numbers: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, number in numbers.items():
            self.register_parameter(name.replace(".", "_"), number)

    def forward(self, x: Any) -> Any:
        """x (1, B, D) gives each owner's sum of squared errors, (N, B)."""
        hidden = x.matmul(self._0_weight.transpose(1, 2)) + self._0_bias.unsqueeze(1)
        again = hidden.relu().matmul(self._2_weight.transpose(1, 2)) + self._2_bias.unsqueeze(1)
        return (x - again).square().sum(2)


def numbers() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(5)
    shapes = {name: shape for name, shape in SPEC.parameters().items() if name != "threshold"}
    weights = {name: torch.randn(OWNERS, *shape) / 8 for name, shape in shapes.items()}
    return weights, torch.rand(IMAGES, SIZE)


def without_names(used: list[TupleKind]) -> list[TupleKind]:
    return [replace(kind, name="w") if isinstance(kind, FixedProduct) else kind for kind in used]


def test_a_dense_ran_in_cryptens_words_draws_the_tuples_of_a_query():
    weights, images = numbers()

    def written(x):
        model = Reconstructor({f"_{name}": number.clone() for name, number in weights.items()})
        model.encrypt(src=0)
        fix(model)
        return model(x.unsqueeze(0)).get_plain_text()

    def program(engine, x, *stacked):
        return Network(SPEC, dict(zip(weights, stacked, strict=True)), engine).dissimilarity(x)

    ran = run_program(written, images)
    shaped = images.reshape(IMAGES, *SPEC.input_shape)
    words = [encode(each.double().numpy()) for each in (shaped, *weights.values())]
    query = run_engine(program, *words, engine_type=FusedEngine)
    # To show the sum, the program truncates it; a query goes on with it as it is.
    drawn = without_names(ran.sessions[0].tuples.used)[:-1]
    assert drawn == without_names(query.sessions[0].tuples.used)
    expected = torch.from_numpy(query.value.view("int64")).T / 2**32
    # CrypTen's encoder cuts off where the upload rounds.
    assert torch.allclose(ran.value.double(), expected.double(), rtol=1e-4)
