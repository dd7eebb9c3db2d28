"""`privedge bench faces`: seconds from a photograph to the private answer."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, RivalsOption, path
from privedge_lab.cli import experiment

if TYPE_CHECKING:
    from privedge_lab.bench.faces import Figures


def faces(
    people: Annotated[
        Path,
        typer.Option(
            "--people",
            metavar="DIR|FILE.npz",
            parser=path,
            help="Photographs: a folder or label for each person.",
        ),
    ],
    encoder: Annotated[
        Path, typer.Option("--encoder", metavar="FILE", parser=path, help="The ONNX encoder.")
    ],
    detector: Annotated[
        Path,
        typer.Option(
            "--detector", metavar="FILE", parser=path, help="The ONNX file that finds faces."
        ),
    ],
    owners: Annotated[
        int | None, typer.Option("--owners", min=1, help="People with a model; default all.")
    ] = None,
    photos: Annotated[
        int, typer.Option("--photos", min=1, help="That each model learns from.")
    ] = 3,
    queries: Annotated[int, typer.Option("--queries", min=1, help="Questions to time.")] = 40,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="Architecture of the models.")
    ] = "face",
    rivals: RivalsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seconds of a private question about a photograph: to find the face, to encode it, to ask.

    The margin is that of the preset `face`, 0.7. Answers are compared with the plaintext model's,
    and the seconds of a training are printed too. Every question but the first three counts.

    \b
    Example:
      privedge bench faces --people build/faces/people --rivals build/faces/rivals.npz \\
        --encoder build/faces/encoder.onnx --detector build/faces/detector.onnx
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.bench.faces import Load, time_questions
    from privedge_lab.bench.processor import processor

    files = PublicFiles.at(encoder=encoder, detector=detector)
    load = Load(people, owners, photos, queries, files, rivals, preset)
    (found,) = experiment.once(lambda bars: [time_questions(load, bars)])
    if as_json:
        print(json.dumps({"processor": processor(), **asdict(found)}))
        return
    print(f"processor: {processor()}")
    _print(found)


def _print(found: "Figures") -> None:
    print(
        f"{found.owners} owners, {found.photos} photographs each, {found.rivals} rivals; "
        f"{found.queries} questions: {found.right} right, {found.unknown} unknown; like the "
        f"plaintext model {found.agreeing}, ties {found.ties}, differing {found.differing}"
    )
    experiment.table(
        ("median of", "s"),
        [
            ("a whole question", f"{found.call_s:.3f}"),
            ("- to find the face and cut it out", f"{found.finding_s:.3f}"),
            ("- encoder", f"{found.encoder_s:.3f}"),
            ("- private part", f"{found.private_s:.3f}"),
            ("95 % of questions took at most", f"{found.call_p95_s:.3f}"),
            ("a training, both networks loaded", f"{found.training_s:.3f}"),
        ],
    )
