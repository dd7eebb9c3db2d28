"""`privedge query`: ask which owner of a cohort each image shows."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    DetectorOption,
    EncoderOption,
    IntegrityOption,
    JsonOption,
    LargestFaceOption,
    SkipBadOption,
    StrictQualityOption,
    care,
    known_integrity,
    path,
    require_used,
)
from privedge.identity.roles import NOBODY

if TYPE_CHECKING:
    from privedge.client.answers import Reply
    from privedge.client.predictions import Predictions

ImagesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="IMAGE...",
        parser=path,
        help="Pictures, one folder of them, or one npz of images or vectors; one batch.",
    ),
]
CohortOption = Annotated[str, typer.Option("--cohort", metavar="NAME", help="The set to ask.")]
TogetherOption = Annotated[
    bool,
    typer.Option(
        "--one-subject", help="All images show one subject, as the words of a page; one answer."
    ),
]


def register(app: typer.Typer) -> None:
    """Add `query`."""
    app.command("query")(_query)


def _query(
    images: ImagesArgument,
    cohort: CohortOption,
    config: ConfigOption = DEFAULT_CONFIG,
    one_subject: TogetherOption = False,
    skip_bad: SkipBadOption = False,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    largest_face: LargestFaceOption = False,
    strict_quality: StrictQualityOption = False,
    integrity: IntegrityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask whose images these are, or "unknown".

    Every image is split here into two random shares, one for each party. Neither party learns
    the image or the answer, as long as the two do not work together. A cohort of vectors is asked
    with the vectors of an npz; its labels, if there are any, are not looked at. A cohort that
    serves another model is asked with the array `inputs` of an npz, and answers with its label or
    its scores.

    \b
    Examples:
      privedge query digit.png other.png --cohort digits --config client.toml
      privedge query vectors.npz --cohort wines --config client.toml
      privedge query inputs.npz --cohort triage --config client.toml
    """
    from privedge.client.query import Client
    from privedge.graph.spec import ModelSpec

    source = files(images, skip_bad)
    with Client.from_file(
        config,
        encoder=encoder,
        detector=detector,
        largest_face=largest_face,
        quality=care(strict_quality),
        integrity=known_integrity(integrity),
    ) as client:
        spec = client.describe(cohort).spec
        if isinstance(spec, ModelSpec):
            if encoder or detector or largest_face or one_subject:
                raise typer.BadParameter(
                    f"cohort {cohort} serves a model that takes arrays as they are; leave them out",
                    param_hint="--encoder, --detector, --largest-face and --one-subject",
                )
            _say_predictions(client.predict(source, cohort), source, as_json)
            return
        require_used(spec, encoder, detector, largest_face)
        reply = client.identify(source, cohort, one_subject=one_subject)
    answers = [answer.owner for answer in reply.answers]
    if as_json:
        print(json.dumps({"answers": answers, **costs(reply)}))
        return
    say_if_never_unknown(reply, cohort)
    for name, owner in zip(subjects(source, len(answers), one_subject), answers, strict=True):
        print(f"{name}: {owner or NOBODY}")


def _say_predictions(reply: "Predictions", source: list[Path] | Path, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(reply)))
        return
    for name, answer in zip(
        subjects(source, len(reply.answers), False), reply.answers, strict=True
    ):
        label = str(answer.label) if answer.name is None else answer.name
        scores = "".join(f" {score:.6g}" for score in answer.scores or ())
        print(f"{name}: {label}{scores}")


def files(images: list[Path], skip_bad: bool) -> list[Path] | Path:
    """Return the named pictures, the pictures of the one named folder, or the one named npz.

    skip_bad: without those that cannot be read.
    """
    from privedge.ran.inputs import in_folder, is_npz, measured, opened

    if len(images) == 1 and is_npz(images[0]):
        return images[0]
    found = in_folder(images[0]) if len(images) == 1 else images
    if not skip_bad:
        return found
    sound = opened(found, skip_bad=True)
    measured(sound)  # decodes them all
    return list(sound.files)


def subjects(source: list[Path] | Path, count: int, one_subject: bool) -> list[str]:
    """Name what each of `count` answers is about, for people."""
    if isinstance(source, Path):
        return [str(source)] if one_subject else [f"{source} {row}" for row in range(count)]
    return [f"{len(source)} images"] if one_subject else [str(image) for image in source]


def say_if_never_unknown(reply: "Reply", cohort: str) -> None:
    """Tell people, on standard error, that the answers name somebody whoever is on the pictures."""
    if reply.never_unknown:
        print(
            f"note: cohort {cohort} never answers unknown: {reply.never_unknown} (a model's own "
            "threshold may still refuse)",
            file=sys.stderr,
        )


def costs(reply: "Reply") -> dict[str, object]:
    """Return what `--json` says besides the answers, with each party's own costs."""
    return {
        "seconds": reply.seconds,
        "bytes_sent": reply.bytes_sent,
        "bytes_received": reply.bytes_received,
        "request_ids": reply.request_ids,
        "never_unknown": reply.never_unknown,
        "canaries": reply.canaries,
        "parties": [asdict(cost) for cost in reply.costs],
    }
