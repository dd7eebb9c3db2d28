"""`privedge split disguise`: train and ask on disguised images. Obfuscation, not encryption."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import JsonOption
from privedge.cli.progress import training_bar
from privedge_lab.cli.options import LabelledArgument

if TYPE_CHECKING:
    from privedge_lab.datasets import Labelled
    from privedge_lab.disguise.files import DisguisedSet
    from privedge_lab.disguise.learning import Learnt
    from privedge_lab.disguise.settings import Sized


class Method(StrEnum):
    """Kinds of disguise."""

    RMT = "rmt"
    PERMUTATION = "permutation"
    AES = "aes"


class Matrix(StrEnum):
    """Kinds of matrices for RMT."""

    ORTHOGONAL = "orthogonal"
    PROJECTION = "projection"


class When(StrEnum):
    """Noise before the matrix (the paper) or after it (its released code)."""

    BEFORE = "before"
    AFTER = "after"


class AesKeys(StrEnum):
    """One AES key, or one for each position."""

    ONE = "one"
    EACH = "each"


DisguisedArgument = Annotated[
    Path, typer.Argument(metavar="DISGUISED.npz", help="What `apply` wrote.")
]
KeyOption = Annotated[Path, typer.Option("--key", metavar="FILE", help="The data set's key.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Test part, shifts, weights.")]
EpochsOption = Annotated[int, typer.Option("--epochs", min=1, help="Passes over the images.")]


def register(group: typer.Typer) -> None:
    """Add `split disguise keygen`, `apply`, `train` and `query`."""
    disguise = typer.Typer(
        name="disguise",
        help=(
            "Train and ask on images disguised under one key per data set. Obfuscation, not "
            "encryption: `privedge attack disguising` shows what it gives away."
        ),
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    disguise.command("keygen")(_keygen)
    disguise.command("apply")(_apply)
    disguise.command("train")(_train)
    disguise.command("query")(_query)
    group.add_typer(disguise)


def _keygen(
    data: LabelledArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The key to write.")],
    method: Annotated[Method, typer.Option("--method", help="The kind of disguise.")] = Method.RMT,
    block: Annotated[
        int | None,
        typer.Option("--block", min=1, max=64, help="Side of a block; aes: 1, 2 or 4. Default 4."),
    ] = None,
    matrix: Annotated[
        Matrix | None, typer.Option("--matrix", help="rmt: kind of matrices. Default orthogonal.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option("--noise", min=0, max=10, help="rmt: noise from 0 to this, pixels 0 to 1."),
    ] = None,
    noise_when: Annotated[
        When | None, typer.Option("--noise-when", help="rmt: relative to the matrix.")
    ] = None,
    keys: Annotated[
        AesKeys | None, typer.Option("--keys", help="aes: for all positions. Default one.")
    ] = None,
    shuffle: Annotated[
        bool | None,
        typer.Option("--shuffle/--no-shuffle", help="Move blocks too; default for rmt, not aes."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the key of a data set, for images of the size of those in DATA.npz.

    Whoever trains on the set or asks the network needs this key; the server must never get it.

    \b
    Examples:
      privedge split disguise keygen mnist_28.npz --out mnist.key
      privedge split disguise keygen faces.npz --out faces.key --method aes --block 2
    """
    from privedge_lab import datasets
    from privedge_lab.disguise import keys as key_files

    given: dict[str, Any] = {"block": block, "matrix": matrix, "noise": noise}
    given |= {"noise_when": noise_when, "keys": keys, "shuffle": shuffle}
    image = tuple(datasets.read(data).images.shape[1:])
    sized = _sized(
        method, {name: value for name, value in given.items() if value is not None}, image
    )
    key = key_files.generate(sized)
    key_files.save(key, out)
    summary = {"file": str(out), "key": key.identity} | sized.model_dump(mode="json")
    _print(summary, f"{out}: key {key.identity}, {_words(sized)}; keep it from the server", as_json)


def _sized(method: Method, given: dict[str, Any], image: tuple[int, ...]) -> "Sized":
    from pydantic import ValidationError

    from privedge.errors import ConfigError
    from privedge_lab.disguise.settings import Sized

    try:
        return Sized.model_validate({"settings": {"kind": method.value, **given}, "image": image})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][-1]).replace("_", "-")
        raise ConfigError(f"{option}: not for {method.value} like this ({first['msg']})") from None


def _words(sized: "Sized") -> str:
    settings = sized.settings.model_dump(mode="json")
    return f"{settings.pop('kind')} " + " ".join(f"{name}={settings[name]}" for name in settings)


def _apply(
    data: LabelledArgument,
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The npz to write.")],
    shifts: Annotated[
        int, typer.Option("--shifts", min=0, max=20, help="Shifted copies of training images.")
    ] = 0,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Disguise a data set, to train on or to ask about: float32 images in an npz.

    Labels and the set's other facts are NOT hidden. Shifted copies make the network more accurate;
    they must be made here, because disguised images cannot be shifted.

    \b
    Example:
      privedge split disguise apply mnist_28.npz --key mnist.key --out disguised.npz --shifts 3
    """
    from privedge_lab import datasets, outputs
    from privedge_lab.disguise import files, keys
    from privedge_lab.disguise.disguise import Disguise

    outputs.require_replaceable(out, outputs.DISGUISED)
    mine = keys.load(key)
    images = _prepared(datasets.read(data), shifts, seed)
    sent = Disguise(mine).apply(images.images)
    hidden = datasets.Labelled(sent, images.labels, images.facts)
    files.write(files.DisguisedSet(hidden, mine.sized, mine.identity), out)
    summary = {
        "file": str(out),
        "key": mine.identity,
        "images": len(sent),
        "shape": list(sent.shape[1:]),
    }
    shape = " x ".join(map(str, sent.shape[1:]))
    _print(summary, f"{out}: {len(sent):,} disguised images of {shape}, labels plain", as_json)


def _prepared(data: "Labelled", shifts: int, seed: int) -> "Labelled":
    """Return training and test images as one set with `is_test`; shift only the former."""
    import torch

    from privedge_lab.baseline.shifts import with_shifts
    from privedge_lab.datasets import Labelled, split

    parts = split(data, seed=seed)
    train = with_shifts(parts.train, shifts, torch.Generator().manual_seed(seed))
    test = with_shifts(parts.test, 0, torch.Generator())
    facts = {name: torch.cat([train.facts[name], test.facts[name]]) for name in train.facts}
    facts["is_test"] = (torch.arange(len(train) + len(test)) >= len(train)).long()
    return Labelled(
        torch.cat([train.images, test.images]), torch.cat([train.labels, test.labels]), facts
    )


def _train(
    disguised: DisguisedArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The network to write.")],
    plain: Annotated[
        Path | None,
        typer.Option("--plain", metavar="DATA.npz", help="Compare: train on the plain set too."),
    ] = None,
    epochs: EpochsOption = 8,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Train a network on disguised images, as a server would, and tell how accurate it is.

    \b
    Example:
      privedge split disguise train disguised.npz --out mnist.disguised --plain mnist_28.npz
    """
    from privedge_lab import outputs
    from privedge_lab.baseline.shifts import COPY
    from privedge_lab.disguise import files, learning

    outputs.require_replaceable(out, outputs.NETWORK)
    found = files.read(disguised)
    learnt, reached = _learn(found.data, epochs, seed)
    learning.save(learning.DisguisedNetwork(*learnt, found.sized, found.key_identity), out)
    summary: dict[str, Any] = {"file": str(out), "key": found.key_identity, "accuracy": reached}
    text = f"{out}: accuracy {reached:.1%} on disguised test images"
    if plain is not None:
        copies = int(found.data.facts[COPY].max()) if COPY in found.data.facts else 0
        _, before = _learn(_plain(plain, found, copies, seed), epochs, seed)
        summary |= {"plain_accuracy": before, "loss_points": 100 * (before - reached)}
        text += f", {before:.1%} on plain ones: a loss of {100 * (before - reached):.1f} points"
    _print(summary, text, as_json)


def _plain(path: Path, found: "DisguisedSet", copies: int, seed: int) -> "Labelled":
    from privedge.errors import ImageError
    from privedge_lab import datasets

    data = datasets.read(path)
    if tuple(data.images.shape[1:]) != found.sized.image:
        raise ImageError(f"{path}: is not the set that was disguised: its images differ in size")
    return _prepared(data, copies, seed)


def _learn(data: "Labelled", epochs: int, seed: int) -> tuple["Learnt", float]:
    """Train on the training part; return the network and its accuracy on the test part."""
    from privedge_lab.datasets import split
    from privedge_lab.disguise.learning import answer, learn, training

    parts = split(data, seed=seed)
    with training_bar(epochs, "loss") as show:
        learnt = learn(parts.train, training(epochs, seed), lambda now: show(now.epoch, now.loss))
    hits = answer(learnt[1], parts.test.images) == parts.test.labels
    return learnt, float(hits.double().mean())


def _query(
    disguised: DisguisedArgument,
    network: Annotated[Path, typer.Option("--network", metavar="FILE", help="What `train` wrote.")],
    as_json: JsonOption = False,
) -> None:
    """The network's labels for disguised images, made with the key it was trained under.

    \b
    Example:
      privedge split disguise query new.npz --network mnist.disguised --json
    """
    from privedge.errors import ConfigError
    from privedge_lab.disguise import files, learning

    found, trained = files.read(disguised), learning.load(network)
    if (found.sized, found.key_identity) != (trained.sized, trained.key_identity):
        raise ConfigError(
            f"{disguised}: disguised by key {found.key_identity}, but {network} was trained under "
            f"{trained.key_identity}; its answers would mean nothing"
        )
    answers = learning.answer(trained.layers, found.data.images)
    right = float((answers == found.data.labels).double().mean())
    summary = {"answers": answers.tolist(), "accuracy": right}
    text = "\n".join(map(str, answers.tolist()))
    _print(summary, f"{text}\n{right:.1%} agree with the labels in {disguised}", as_json)


def _print(summary: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(summary) if as_json else text)
