"""The nine settings of He et al. 2019, for their two networks and five cuts: what each consists of.

Sets are named as the attacker's relation to the network's own: `same` set, another set of the same
distribution (`other`), or `noise`. The other net of a query-free attacker is the paper's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from privedge_lab.attacks.inversion.black_box import BlackBoxSettings
from privedge_lab.attacks.inversion.query_free import QueryFreeSettings
from privedge_lab.attacks.inversion.white_box import WhiteBoxSettings
from privedge_lab.baseline.presets import preset
from privedge_lab.baseline.spec import Conv, Layer, NetworkSpec, Plain, Pool
from privedge_lab.results.rows.values import Raw

Known = Literal["same", "other", "noise"]
Kind = Literal["white-box", "black-box", "query-free", "shadow-queried"]


@dataclass(frozen=True)
class Setting:
    """What the attacker has. `other_net`: its shadow is not of the head's own structure."""

    kind: Kind
    known: Known = "same"
    other_net: bool = False


SETTINGS: Mapping[str, Setting] = {
    "white-box": Setting("white-box"),
    "black-box-same-set": Setting("black-box"),
    "black-box-other-set": Setting("black-box", "other"),
    "black-box-noise": Setting("black-box", "noise"),
    "query-free-same-set-same-net": Setting("query-free"),
    "query-free-other-set-same-net": Setting("query-free", "other"),
    "query-free-same-set-other-net": Setting("query-free", other_net=True),
    "query-free-other-set-other-net": Setting("query-free", "other", other_net=True),
    "shadow-queried": Setting("shadow-queried"),
}
CUTS: Mapping[str, tuple[str, ...]] = {
    "lenet": ("conv1", "relu2"),
    "cifar": ("conv11", "relu22", "relu32"),
}
# The paper's table: PSNR in dB and SSIM, in the order of SETTINGS.
_PAPER: Mapping[str, tuple[tuple[float, float], ...]] = {
    "conv1": (
        *((39.69, 0.9969), (39.64, 0.9887), (40.72, 0.9950), (14.76, 0.7188), (17.60, 0.7423)),
        *((21.53, 0.9121), (12.59, 0.6430), (17.86, 0.6952), (39.67, 0.9968)),
    ),
    "relu2": (
        *((15.10, 0.5998), (20.35, 0.7334), (20.81, 0.8046), (7.72, 0.4310), (9.61, 0.4981)),
        *((9.27, 0.4652), (8.05, 0.3790), (8.03, 0.3226), (15.41, 0.6103)),
    ),
    "conv11": (
        *((37.59, 0.9960), (49.88, 0.9993), (49.02, 0.9992), (48.59, 0.9996), (21.16, 0.9104)),
        *((21.45, 0.9145), (17.55, 0.6344), (13.06, 0.1553), (28.67, 0.9766)),
    ),
    "relu22": (
        *((19.47, 0.6940), (19.81, 0.6939), (19.36, 0.6802), (12.79, 0.2930), (12.74, 0.1752)),
        *((11.51, 0.1723), (12.46, 0.2714), (11.30, 0.0467), (18.02, 0.6893)),
    ),
    "relu32": (
        *((13.38, 0.1625), (15.42, 0.3124), (13.95, 0.2196), (12.37, 0.0440), (11.09, 0.0419)),
        *((11.98, 0.0102), (10.68, 0.0247), (11.47, 0.0793), (12.61, 0.1145)),
    ),
}
# As in attack_plan: not the paper's eps and constant rate, which need ten times the steps.
_SEARCH = WhiteBoxSettings(iterations=300, rate=0.1, eps=1e-8, anneal=True)
# Weights of total variation for the head itself or a close copy, and for shadows without queries.
_SMOOTH = {"conv1": 0.0, "relu2": 0.1, "conv11": 0.0, "relu22": 0.1, "relu32": 0.1}
_SMOOTH_BLIND = {"conv1": 0.2, "relu2": 2.0, "conv11": 2.0, "relu22": 2.0, "relu32": 2.0}
_DECODER_EPOCHS = {"conv1": 20, "relu2": 12, "conv11": 60, "relu22": 12, "relu32": 15}
# One convolution is fitted, and stands a higher rate than networks do.
_DECODER_RATE = {"conv1": 1e-2, "conv11": 1e-2}


def paper(setting: str, cut: str) -> tuple[float, float]:
    """PSNR in dB and SSIM that the paper has, means over 10 images."""
    return _PAPER[cut][list(SETTINGS).index(setting)]


@dataclass(frozen=True)
class Plan:
    """What to measure. `images` are attacked; `effort` scales all epochs and steps, for trials."""

    network: str
    cuts: tuple[str, ...]
    settings: tuple[str, ...] = field(default_factory=lambda: tuple(SETTINGS))
    images: int = 100
    seed: int = 0
    epochs: int = 20
    shadow_epochs: int = 10
    effort: float = 1.0

    def common(self) -> Raw:
        """What all rows have in common, for the results' file."""
        return {
            "network": self.network,
            "images": self.images,
            "seed": self.seed,
            "epochs": self.epochs,
            "shadow_epochs": self.shadow_epochs,
            "effort": self.effort,
        }

    def times(self, count: int) -> int:
        """`count` epochs or steps at this effort: at least 1."""
        return max(1, round(count * self.effort))

    def search(self, cut: str, *, blind: bool = False) -> WhiteBoxSettings:
        """The search through the head, or (`blind`) through a shadow that was never queried for."""
        smoothness = (_SMOOTH_BLIND if blind else _SMOOTH)[cut]
        return replace(
            _SEARCH, iterations=self.times(_SEARCH.iterations), smoothness=smoothness, batch=25
        )

    def decoder(self, cut: str) -> BlackBoxSettings:
        """The paper's decoder, with a rate that falls to 0."""
        epochs = self.times(_DECODER_EPOCHS[cut])
        rate = _DECODER_RATE.get(cut, 3e-3)
        return BlackBoxSettings(epochs=epochs, rate=rate, eps=1e-8, anneal=True)

    def shadow(self, cut: str, classes: int, *, other_net: bool) -> QueryFreeSettings:
        """A shadow of the head's structure or of another, and the search through it."""
        spec = preset(self.network, classes)
        if other_net:
            spec = _with_head(spec, cut, _OTHER_HEADS[cut])
        epochs = self.times(self.shadow_epochs)
        return QueryFreeSettings(spec, cut, epochs=epochs, search=self.search(cut, blind=True))


def _with_head(spec: NetworkSpec, cut: str, layers: tuple[Layer, ...]) -> NetworkSpec:
    """Return `spec` with these layers in place of those up to `cut`."""
    after = spec.layers[spec.cuts.index(cut) + 1 :]
    return spec.model_copy(update={"layers": (*layers, *after)})


def _convolutions(cut: str, kernel: int, padding: int, *widths: int) -> tuple[Layer, ...]:
    """Convolutions with ReLUs between; 0 stands for a pool. The last layer is named `cut`.

    `widths` begin with the image's channels. Cuts after a ReLU end with one.
    """
    layers: list[Layer] = []
    before, *rest = widths
    for place, width in enumerate(rest):
        if not width:
            layers.append(Pool(name=f"shadow_pool{place}", kind="max_pool"))
            continue
        layers += (
            Conv(
                name=f"shadow{place}",
                inputs=before,
                outputs=width,
                kernel=kernel,
                padding=padding,
            ),
            Plain(name=f"shadow_relu{place}", kind="relu"),
        )
        before = width
    if cut.startswith("conv"):
        layers.pop()
    return (*layers[:-1], layers[-1].model_copy(update={"name": cut}))


_OTHER_HEADS: Mapping[str, tuple[Layer, ...]] = {
    "conv1": _convolutions("conv1", 3, 0, 1, 8, 8),
    "relu2": _convolutions("relu2", 3, 0, 1, 8, 16, 0, 16, 16),
    "conv11": _convolutions("conv11", 3, 1, 3, 16, 64),
    "relu22": _convolutions("relu22", 5, 2, 3, 64, 0, 128),
    "relu32": _convolutions("relu32", 5, 2, 3, 64, 0, 128, 0, 128),
}
