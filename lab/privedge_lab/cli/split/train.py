"""`privedge split train`: train a network that is cut into a device's and a server's part."""

import json
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, without_effect
from privedge.cli.progress import training_bar
from privedge_lab.cli.options import LabelledArgument

if TYPE_CHECKING:
    from privedge_lab.baseline.cut_files import CutFiles
    from privedge_lab.baseline.defences.counting import Counting
    from privedge_lab.baseline.spec import NetworkSpec
    from privedge_lab.baseline.train import Trainee
    from privedge_lab.datasets import TrainTest


class RepeatChoice(StrEnum):
    """For which images a defence draws the same random numbers again."""

    FIXED = "fixed"
    PER_INPUT = "per-input"


PresetOption = Annotated[
    str,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="The network: lenet, cifar, small, face, face-narrow, or one ending in -guess.",
    ),
]
NetworkOption = Annotated[
    Path | None,
    typer.Option("--network", metavar="FILE", help="Another network: the JSON of a NetworkSpec."),
]
CutOption = Annotated[
    str, typer.Option("--cut", metavar="LAYER", help="The last layer on the device.")
]
DefenceOption = Annotated[
    str, typer.Option("--defence", metavar="NAME", help="What the device does to what it sends.")
]
StrengthOption = Annotated[
    float, typer.Option("--strength", help="The defence's one number; each has its own scale.")
]
RepeatOption = Annotated[
    RepeatChoice,
    typer.Option("--repeat", help="Draw the same for every image, or for equal images."),
]
PrivateOption = Annotated[
    str | None,
    typer.Option(
        "--private", metavar="FACT", help="What partitioning and balanced-partitioning hide."
    ),
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Weights, order and test part.")]


def register(group: typer.Typer) -> None:
    """Add `split train`."""
    group.command("train")(_train)


def _train(
    context: typer.Context,
    data: LabelledArgument,
    cut: CutOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A folder for the files.")],
    preset: PresetOption = "lenet",
    network: NetworkOption = None,
    defence: DefenceOption = "none",
    strength: StrengthOption = 0.0,
    repeat: RepeatOption = RepeatChoice.PER_INPUT,
    private: PrivateOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of the files; default: network's.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the images.")] = 20,
    seed: SeedOption = 0,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="FACT", help="Keep images of equal FACT in one part."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network and cut it: NAME.head and NAME.key for devices, NAME.tail for the server.

    The server will see what the head and the defence put out, in the clear: this is the baseline
    that private prediction is compared with. A key that is in DIR already is kept.

    For pixels, so there is no --encoder: `attack attributes` has one.

    \b
    Examples:
      privedge split train mnist_28.npz --cut relu2 --out lenet/
      privedge split train faces.npz --preset face --cut relu3 --out faces/ \\
        --defence gaussian --strength 0.5
    """
    from privedge_lab import datasets
    from privedge_lab.baseline.cut_files import CutFiles
    from privedge_lab.baseline.defences import registry
    from privedge_lab.baseline.train import Trainee

    _refuse_idle(context, defence, another_network=network is not None)
    images = datasets.read(data)
    spec = _spec(preset, network, images.classes)
    _folder(out)
    files = CutFiles.at(out, name or spec.name)
    files.require_writable()
    chosen = registry.make(defence, strength, repeat.value, private=private)
    trainee = Trainee(spec, cut, chosen, files.known_or_new_key())
    parts = datasets.split(images, seed=seed, group=group)
    _report(_run(trainee, parts, files, epochs, seed), files, trainee, as_json)


def _refuse_idle(context: typer.Context, defence: str, *, another_network: bool) -> None:
    if another_network:
        without_effect(context, "--network names another network", "preset")
    if defence == "none":
        idle = ("strength", "repeat", "private")
        without_effect(context, "without --defence nothing is drawn or hidden", *idle)
    elif not defence.endswith("partitioning"):
        without_effect(context, f"the defence {defence} hides no fact", "private")


def _spec(preset: str, network: Path | None, classes: int) -> "NetworkSpec":
    from privedge import regular_file
    from privedge.errors import ConfigError
    from privedge_lab.baseline import presets
    from privedge_lab.baseline.spec import NetworkSpec

    if network is None:
        return presets.preset(preset, max(2, classes))
    try:
        text = regular_file.read(network).decode()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{network}: cannot be read as text") from None
    return NetworkSpec.from_json(text, where=str(network))


def _folder(out: Path) -> None:
    from privedge.errors import ConfigError

    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be created ({error.strerror})") from None


@dataclass(frozen=True)
class _Outcome:
    """The results of a training."""

    train_images: int
    test_images: int
    accuracy: float
    seconds: float


def _run(
    trainee: "Trainee", parts: "TrainTest", files: "CutFiles", epochs: int, seed: int
) -> _Outcome:
    from privedge_lab.baseline.defence import Device
    from privedge_lab.baseline.network import head, tail
    from privedge_lab.baseline.train import TrainSettings, accuracy, train

    started = time.monotonic()
    with training_bar(epochs, "loss") as show:
        settings = TrainSettings(epochs=epochs, seed=seed)
        network = train(
            trainee, parts.train, settings, progress=lambda now: show(now.epoch, now.loss)
        )
    device = Device(head(network, trainee.cut), trainee.defence, trainee.key)
    reached = accuracy(device, tail(network, trainee.cut), parts.test)
    facts = {"seed": str(seed), "epochs": str(epochs), "test_accuracy": f"{reached:.4f}"}
    files.save(trainee, network, facts)
    seconds = time.monotonic() - started
    return _Outcome(len(parts.train), len(parts.test), reached, seconds)


def _report(outcome: _Outcome, files: "CutFiles", trainee: "Trainee", as_json: bool) -> None:
    from math import prod

    from privedge_lab.baseline.network import sent_shape

    shape = sent_shape(trainee.spec, trainee.cut)
    counted = _counted(trainee)
    summary = {
        "head": str(files.head),
        "tail": str(files.tail),
        "key": str(files.key),
        "network": trainee.spec.name,
        "cut": trainee.cut,
        "defence": trainee.defence.name,
        "strength": trainee.defence.strength,
        "repeat": trainee.defence.repeat,
        "sent_shape": list(shape),
        "sent_bytes": 4 * prod(shape),
        "train_images": outcome.train_images,
        "test_images": outcome.test_images,
        "test_accuracy": outcome.accuracy,
        "seconds": round(outcome.seconds, 3),
    }
    if counted is not None:
        summary["counting"] = {**asdict(counted), "holds": counted.holds}
    if as_json:
        print(json.dumps(summary))
        return
    print(
        f"{files.head}, {files.key}: for devices; {files.tail}: for the server\n"
        f"{trainee.spec.name} cut at {trainee.cut}, defence {trainee.defence.name} "
        f"{trainee.defence.strength:g}: test accuracy {outcome.accuracy:.1%} of "
        f"{outcome.test_images:,} images; sends {4 * prod(shape):,} bytes an image; "
        f"{outcome.seconds:.1f} s"
    )
    if counted is not None:
        print(counted.text())


def _counted(trainee: "Trainee") -> "Counting | None":
    """Count what a defence that drops outputs keeps, against the pixels. None for others."""
    from privedge_lab.baseline.defences.counting import counting
    from privedge_lab.baseline.defences.dropping import Dropping, FeatureDropout

    if not isinstance(trainee.defence, Dropping | FeatureDropout):
        return None
    return counting(trainee.spec, trainee.cut, trainee.defence.strength)
