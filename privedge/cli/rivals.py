"""`privedge rivals`: make and show the public rivals of a cohort."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import (
    DEFAULT_CONFIG,
    ChannelsOption,
    ConfigOption,
    DetectorOption,
    EncoderOption,
    ForceOption,
    JoinOption,
    JsonOption,
    LargestFaceOption,
    SpecOption,
    path,
    public_files,
    require_used,
    to_join,
)

if TYPE_CHECKING:
    from privedge.ran.rivals import Rivals


def register(app: typer.Typer) -> None:
    """Add `rivals`."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Make and show public rivals, with which one owner alone can answer unknown.",
    )
    group.command("make")(_make)
    group.command("show")(_show)
    app.add_typer(group, name="rivals")


def _make(
    images: Annotated[
        Path,
        typer.Option(
            "--images",
            metavar="DIR|FILE.npz",
            parser=path,
            help="Public pictures or vectors, of nobody who may become an owner.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", parser=path, help="The file to write.")
    ],
    count: Annotated[int, typer.Option("--count", min=1, help="How many rivals; 40 at most.")] = 20,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The cohort's architecture.")
    ] = "auto",
    channels: ChannelsOption = None,
    spec_file: SpecOption = None,
    cohort: JoinOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    largest_face: LargestFaceOption = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which pictures are drawn.")] = 0,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make public rivals from public pictures or vectors, for both operators of a cohort.

    An image is then known only if its owner's model is nearer than every rival, by the cohort's
    margin. Both operators name the same file in their [[cohorts]]: rivals = "FILE".

    \b
    Examples:
      privedge rivals make --images public/ --cohort faces --config owner.toml --out rivals.npz
      privedge rivals make --images public.npz --spec spec.json --encoder e.onnx --out rivals.npz
    """
    from privedge import private_file
    from privedge.ran import rivals
    from privedge.user import people, public_rivals

    private_file.require_writable(out)
    if not force:
        rivals.require_replaceable(out)
    files = public_files(encoder, cohort, config, detector=detector)
    sets = people.of_anybody(images)
    spec = people.spec_for(
        sets,
        to_join(cohort, config, preset, spec_file),
        channels=channels,
        files=files,
    )
    require_used(spec, encoder, detector, largest_face)
    made = public_rivals.make(sets, spec, count, seed=seed, files=files, largest_face=largest_face)
    rivals.write(out, made, spec)
    _print(out, made, as_json)


def _show(
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=path, help="As from rivals make.")],
    as_json: JsonOption = False,
) -> None:
    """Show how many rivals a file has, and the digest that both parties must have alike.

    \b
    Example:
      privedge rivals show rivals.npz
    """
    from privedge.ran import rivals

    _print(file, rivals.read_any(file), as_json)


def _print(file: Path, found: "Rivals", as_json: bool) -> None:
    shape = list(found.rows.shape[1:])
    if as_json:
        facts = {"file": str(file), "rivals": len(found), "shape": shape, "sha256": found.digest}
        print(json.dumps(facts))
        return
    print(f"{file}: {len(found)} rivals of shape {shape}, digest {found.digest}")
