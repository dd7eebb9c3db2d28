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
    from privedge.ran.encoder_facts import Facts
    from privedge.ran.spec import ImageShape, RanSpec

_FileArgument = Annotated[Path, typer.Argument(metavar="FILE", parser=path, help="An ONNX file.")]


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

    The file is run on a blank picture. The order of its channels cannot be seen in it.

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
    offset: Annotated[
        str, typer.Option("--offset", metavar="NUMBERS", help="See --scale.")
    ] = "-1",
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
      privedge encoder wrap face.onnx --order bgr --scale 1 --offset 0 --unit-length --out faces.json
      privedge train photos/ --owner ana --out ana.ran --spec faces.json --encoder face.onnx
    """
    from privedge.ran import onnx_encoder, onnx_file, spec_file
    from privedge.ran.feature_kinds import EncoderInput
    from privedge.ran.presets import behind_encoder

    seen = layout or _layout_in(file)
    wants = EncoderInput(
        order=order.value,
        layout=Layout(seen).value,
        scale=_numbers(scale, "--scale"),
        offset=_numbers(offset, "--offset"),
    )
    encoder, image = onnx_encoder.describe(file, _size(size), wants, unit_length=unit_length)
    spec = behind_encoder(preset, encoder, image, components=components)
    spec_file.write(spec, out)
    _tell(spec, file, out, as_json)
