"""`privedge encoder`: look at a public encoder, and write the architecture that goes with it."""

import json
import shlex
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import JsonOption, path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privedge.ran.encoder_facts import Facts
    from privedge.ran.spec import ImageShape

_FileArgument = Annotated[Path, typer.Argument(metavar="FILE", parser=path, help="An ONNX file.")]

_LARGEST = 1e6


class Order(StrEnum):
    """Of the channels of a colour picture."""

    RGB = "rgb"
    BGR = "bgr"


class Layout(StrEnum):
    """Of the axes of a batch."""

    NCHW = "nchw"
    NHWC = "nhwc"


def register(app: typer.Typer) -> None:
    """Add `encoder inspect` and `encoder wrap`."""
    group = typer.Typer(
        name="encoder",
        help="Look at a public encoder (ONNX), and write the architecture behind it.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("inspect")(_inspect)
    group.command("wrap")(_wrap)
    app.add_typer(group)


def _inspect(file: _FileArgument, as_json: JsonOption = False) -> None:
    """Say what an encoder takes and gives, and whether it can be used; exit status 1 if not.

    The file is run on made pictures: features must be the same in every run, and differ between
    pictures. The order of its channels cannot be seen in it.

    \b
    Example:
      privedge encoder inspect face.onnx
    """
    from privedge.ran.encoder_facts import inspect

    facts = inspect(file)
    if as_json:
        print(json.dumps(_as_json(facts)))
    else:
        print("\n".join(_lines(facts)))
    if not facts.usable:
        raise typer.Exit(1)


def _wrap(
    file: _FileArgument,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", parser=path, help="The spec to write (JSON).")
    ],
    order: Annotated[Order, typer.Option("--order", help="Of the channels.")] = Order.RGB,
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            metavar="NUMBERS",
            help="The encoder gets pixel * scale + offset, pixel from 0 to 255; three numbers, "
            "with commas, for three channels in --order.",
        ),
    ] = "1/127.5",
    offset: Annotated[str, typer.Option("--offset", metavar="NUMBERS", help="See --scale.")] = "-1",
    layout: Annotated[
        Layout | None, typer.Option("--layout", help="Of the axes; default: what the file shows.")
    ] = None,
    unit_length: Annotated[
        bool, typer.Option("--unit-length", help="Divide its output by its length.")
    ] = False,
    preset: Annotated[
        str,
        typer.Option(
            "--preset", metavar="NAME", help="The layers behind it: subspace-encoder, ran-encoder."
        ),
    ] = "subspace-encoder",
    components: Annotated[
        int | None, typer.Option("--components", min=1, help="Of subspace-encoder; default 4.")
    ] = None,
    size: Annotated[
        str,
        typer.Option("--size", metavar="HEIGHTxWIDTH", help="Of pictures, if the file fixes none."),
    ] = "112x112",
    as_json: JsonOption = False,
) -> None:
    """Write the spec of a cohort behind an encoder: for operators (spec_file) and for --spec.

    \b
    Examples:
      privedge encoder wrap face.onnx --out faces.json --unit-length
      privedge encoder wrap face.onnx --out faces.json --order bgr --scale 1 --offset 0
      privedge train photos/ --owner ana --out ana.ran --spec faces.json --encoder face.onnx
    """
    from privedge.ran import onnx_encoder, spec_file
    from privedge.ran.encoder_facts import inspect
    from privedge.ran.feature_kinds import EncoderInput
    from privedge.ran.presets import behind_encoder

    wants = EncoderInput(
        order=order.value,
        layout=layout.value if layout else inspect(file).layout,
        scale=_numbers(scale, "--scale"),
        offset=_numbers(offset, "--offset"),
    )
    encoder, image = onnx_encoder.describe(file, _size(size), wants, unit_length=unit_length)
    spec = behind_encoder(preset, encoder, image, components=components)
    spec.shapes()
    spec_file.write(spec, out)
    if as_json:
        print(json.dumps({"file": str(out), "digest": spec.digest(), "encoder": encoder.sha256}))
        return
    print(f"{out}: {spec.name}, {_shape(encoder.output)} values, SHA-256 {spec.digest()}")
    print(f"operators: spec_file = {json.dumps(str(out))}")
    print(f"owners:    privedge train ... --spec {_quoted(out)} --encoder {_quoted(file)}")


def _numbers(text: str, option: str) -> tuple[float, ...]:
    """Read one number or three; a number may be a fraction, such as 1/255."""
    try:
        numbers = tuple(_number(part) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        numbers = ()
    if len(numbers) not in (1, 3) or not all(abs(number) <= _LARGEST for number in numbers):
        raise typer.BadParameter(
            f"{text!r} is not one number or three, with commas between them", param_hint=option
        )
    if option == "--scale" and 0.0 in numbers:
        raise typer.BadParameter("0 would make all pictures equal", param_hint=option)
    return numbers


def _number(text: str) -> float:
    above, _, below = text.partition("/")
    return float(above) / float(below or 1)


def _size(text: str) -> "ImageShape":
    from privedge.ran.spec import ImageShape

    height, _, width = text.partition("x")
    try:
        return ImageShape(height=int(height), width=int(width), channels=3)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not HEIGHTxWIDTH, of 8 to 1024 pixels each", param_hint="--size"
        ) from None


# --- What is seen ---------------------------------------------------------------------------------


def _as_json(facts: "Facts") -> dict[str, Any]:
    found = asdict(facts) | {"file": str(facts.file), "opsets": dict(facts.opsets)}
    found["image"] = facts.image.model_dump() if facts.image else None
    verdict = "usable" if facts.usable else "not usable"
    return found | {"verdict": verdict, "wrap": _wrapping(facts) if facts.usable else None}


def _lines(facts: "Facts") -> "Iterator[str]":
    yield f"{facts.file}: {facts.size:,} bytes, SHA-256 {facts.sha256}"
    if facts.opsets:
        sets = ", ".join(f"{name or 'ONNX'} {version}" for name, version in facts.opsets)
        yield f"operators:  {sets}" + (f", made by {facts.producer}" if facts.producer else "")
    for what, ports in (("takes", facts.inputs), ("gives", facts.outputs)):
        for port in ports:
            yield f"{what + ':':11} {port.name}, {port.kind} {_shape(port.shape)}"
    if facts.taken_out:
        yield f"left out:   {facts.taken_out} inputs that are constants or that nothing reads"
    if facts.usable:
        yield from _conventions(facts)
    yield f"verdict:    {'usable' if facts.usable else f'not usable: {facts.why}'}"
    if facts.usable:
        yield f"next:       {_wrapping(facts)}"


def _conventions(facts: "Facts") -> "Iterator[str]":
    image = facts.image
    if image is not None:
        batch = facts.batch or "any number"
        yield (
            f"pictures:   {image.height} x {image.width}, {image.channels} channels, layout "
            f"{facts.layout}, {batch} at once; the order of channels cannot be seen"
        )
    if not facts.alone:
        yield "batches:    change a picture's features, so privedge gives it one picture at a time"
    yield f"pixels:     {_scaling(facts)}"
    unit = "already of length one" if facts.unit_length else "not of length one"
    yield f"features:   {_shape(facts.output)}, {unit}; {1000 * facts.seconds:.0f} ms a picture"


def _scaling(facts: "Facts") -> str:
    if facts.scaled_inside:
        return f"scaled in the file ({', '.join(facts.scaled_inside)}): it takes 0 to 255"
    return "not scaled in the file; its authors say what it takes, often -1 to 1 or 0 to 1"


def _wrapping(facts: "Facts") -> str:
    scaling = "--scale 1 --offset 0" if facts.scaled_inside else "--scale 1/127.5 --offset -1"
    unit = "" if facts.unit_length else " --unit-length"
    wrap = f"privedge encoder wrap {_quoted(facts.file)} --order rgb {scaling}{unit}"
    return f"{wrap} --out {_quoted(Path(facts.file.stem + '.json'))}"


def _shape(shape: "tuple[int | str | None, ...]") -> str:
    return " x ".join(str(extent or "?") for extent in shape) or "1"


def _quoted(name: Path) -> str:
    return shlex.quote(str(name))
