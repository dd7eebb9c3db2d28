"""`privedge verify`: ask whether images show one named owner."""

import json
from typing import Annotated

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
    require_used,
)
from privedge.cli.query import (
    CohortOption,
    ImagesArgument,
    TogetherOption,
    costs,
    files,
    say_if_never_unknown,
    subjects,
)


def register(app: typer.Typer) -> None:
    """Add `verify`."""
    app.command("verify")(_verify)


def _verify(
    images: ImagesArgument,
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Is it this owner?")],
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
    """Ask whether images are one owner's: yes or no, and nothing else about anybody.

    Yes means that the owner's model is the best of the cohort and passes the cohort's rule. The
    parties learn whom you asked about, but neither the image nor the answer.

    This is no authentication: an operator that deviates can forge a yes, and canaries notice it
    with a probability only. Let it open nothing by itself.

    \b
    Example:
      privedge verify digit.png --owner ana --cohort digits --config client.toml
    """
    from privedge.client.query import Client
    from privedge.ran.any_spec import of_rans

    source = files(images, skip_bad)
    with Client.from_file(
        config,
        encoder=encoder,
        detector=detector,
        largest_face=largest_face,
        quality=care(strict_quality),
        integrity=known_integrity(integrity),
    ) as client:
        if encoder or detector or largest_face:
            spec = of_rans(client.describe(cohort).spec, cohort)
            require_used(spec, encoder, detector, largest_face)
        reply = client.verify(source, owner, cohort, one_subject=one_subject)
    answers = [answer.owner is not None for answer in reply.answers]
    if as_json:
        print(json.dumps({"answers": answers, **costs(reply)}))
        return
    say_if_never_unknown(reply, cohort)
    for name, yes in zip(subjects(source, len(answers), one_subject), answers, strict=True):
        print(f"{name}: {'yes' if yes else 'no'}")
