"""The networks of the split-inference papers (He et al. 2019, released code), and small ones."""

from privedge.errors import ConfigError
from privedge_lab.baseline.spec import Conv, Layer, Linear, NetworkSpec, Plain, Pool

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def lenet(classes: int = 10) -> NetworkSpec:
    """Return He et al.'s LeNet for 28 x 28 grey images, without padding."""
    layers: tuple[Layer, ...] = (
        Conv(name="conv1", inputs=1, outputs=8, kernel=5),
        Plain(name="relu1", kind="relu"),
        Pool(name="pool1", kind="max_pool"),
        Conv(name="conv2", inputs=8, outputs=16, kernel=5),
        Plain(name="relu2", kind="relu"),
        Pool(name="pool2", kind="max_pool"),
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=256, outputs=120),
        Plain(name="relu3", kind="relu"),
        Linear(name="fc2", inputs=120, outputs=84),
        Plain(name="relu4", kind="relu"),
        Linear(name="fc3", inputs=84, outputs=classes),
    )
    return NetworkSpec(
        name="lenet", input=(1, 28, 28), mean=(0.5,), std=(0.5,), classes=classes, layers=layers
    )


def lenet_guess(classes: int = 10) -> NetworkSpec:
    """Return `lenet` with two values before its answer, as `face_guess` is of `face`."""
    ending = (Linear(name="guess", inputs=84, outputs=2),)
    return _before_answer(lenet(classes), "lenet-guess", ending, 2)


def cifar(classes: int = 10) -> NetworkSpec:
    """Return He et al.'s six convolutions for 32 x 32 colour images.

    The paper's cuts are conv11, relu22 and relu32.
    """
    layers: list[Layer] = []
    channels = 3
    for block, width in enumerate((64, 128, 128), start=1):
        for place in (1, 2):
            name = f"{block}{place}"
            layers += (
                Conv(name=f"conv{name}", inputs=channels, outputs=width, kernel=3, padding=1),
                Plain(name=f"relu{name}", kind="relu"),
            )
            channels = width
        layers.append(Pool(name=f"pool{block}", kind="max_pool"))
    layers += (
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=2048, outputs=512),
        Plain(name="sigmoid1", kind="sigmoid"),
        Linear(name="fc2", inputs=512, outputs=classes),
    )
    mean, std = _IMAGENET
    return NetworkSpec(
        name="cifar", input=(3, 32, 32), mean=mean, std=std, classes=classes, layers=tuple(layers)
    )


def face(classes: int = 2, channels: int = 3) -> NetworkSpec:
    """Return four strided convolutions for 64 x 64 faces; cut it after any `relu`."""
    return _strided("face", (channels, 64, 64), (16, 32, 64, 64), classes)


def small(classes: int = 2) -> NetworkSpec:
    """Return three strided convolutions for 32 x 32 colour images; cut it after any `relu`."""
    return _strided("small", (3, 32, 32), (16, 32, 64), classes)


def _strided(
    name: str, input: tuple[int, int, int], widths: tuple[int, ...], classes: int
) -> NetworkSpec:
    """Convolutions that halve the image each, down to 64 maps of 4 x 4, and two dense layers."""
    layers: list[Layer] = []
    before = input[0]
    for place, width in enumerate(widths, start=1):
        layers += (
            Conv(name=f"conv{place}", inputs=before, outputs=width, kernel=3, stride=2, padding=1),
            Plain(name=f"relu{place}", kind="relu"),
        )
        before = width
    layers += (
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=1024, outputs=64),
        Plain(name=f"relu{len(widths) + 1}", kind="relu"),
        Linear(name="fc2", inputs=64, outputs=classes),
    )
    grey = (0.5,) * input[0]
    return NetworkSpec(
        name=name, input=input, mean=grey, std=grey, classes=classes, layers=tuple(layers)
    )


def small_guess(classes: int = 2) -> NetworkSpec:
    """Return `small` with two values before its answer, as `face_guess` is of `face`."""
    ending = (Linear(name="guess", inputs=64, outputs=2),)
    return _before_answer(small(classes), "small-guess", ending, 2)


def face_narrow(classes: int = 2) -> NetworkSpec:
    """Return `face` with four values before its answer; a cut at `squash` sends only these.

    Privacy Partitioning hides a private fact better in few values. Attackers trained beside the
    network find what is in them, and what is not sent needs no hiding.
    """
    ending = (Linear(name="narrow", inputs=64, outputs=4), Plain(name="squash", kind="tanh"))
    return _before_answer(face(classes), "face-narrow", ending, 4)


def face_guess(classes: int = 2) -> NetworkSpec:
    """Return `face` with two values before its answer; a cut at `guess` sends one of them.

    It is for balanced partitioning and a private fact of two values: the second value is the
    device's own guess of the fact.
    """
    ending = (Linear(name="guess", inputs=64, outputs=2),)
    return _before_answer(face(classes), "face-guess", ending, 2)


def _before_answer(
    wide: NetworkSpec, name: str, ending: tuple[Layer, ...], values: int
) -> NetworkSpec:
    answer = Linear(name=wide.layers[-1].name, inputs=values, outputs=wide.classes)
    layers = (*wide.layers[:-1], *ending, answer)
    return wide.model_copy(update={"name": name, "layers": layers})


PRESETS = {
    "lenet": lenet,
    "lenet-guess": lenet_guess,
    "cifar": cifar,
    "face": face,
    "face-narrow": face_narrow,
    "face-guess": face_guess,
    "small": small,
    "small-guess": small_guess,
}


def preset(name: str, classes: int) -> NetworkSpec:
    """Return the preset `name` with `classes` outputs.

    Raises ConfigError for an unknown name; the error lists the presets.
    """
    if name not in PRESETS:
        raise ConfigError(f"{name}: no such preset; there are {', '.join(PRESETS)}")
    return PRESETS[name](classes)
