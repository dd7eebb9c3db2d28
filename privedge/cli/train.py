"""`privedge train`: train a RAN on your own images, on your own device."""

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import (
    DEFAULT_CONFIG,
    ChannelsOption,
    ConfigOption,
    DetectorOption,
    EncoderOption,
    EncryptOption,
    ForceOption,
    JoinOption,
    JsonOption,
    KeyFileOption,
    LargestFaceOption,
    SkipBadOption,
    SpecOption,
    StrictQualityOption,
    UnitLengthOption,
    care,
    lock_to_write,
    path,
    public_files,
    require_used,
    to_join,
    warn_of_template,
)
from privedge.cli.progress import training_bar

if TYPE_CHECKING:
    from privedge.user.checkpoint import Ran


class Device(StrEnum):
    """Where to train."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def register(app: typer.Typer) -> None:
    """Add `train`."""
    app.command("train")(_train)


def _train(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGES...",
            parser=path,
            help="A folder of pictures, such files, or one npz of images or vectors.",
        ),
    ],
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="Whose images they are.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", parser=path, help="The RAN to write.")
    ],
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The architecture; auto: by image size.")
    ] = "auto",
    components: Annotated[
        int | None, typer.Option("--components", help="Components of a subspace preset.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="The same seed, the same RAN; not with noise.")
    ] = 0,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
    ] = None,
    channels: ChannelsOption = None,
    unit_length: UnitLengthOption = None,
    cohort: JoinOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    label: Annotated[
        str | None, typer.Option("--label", help="The label to take from an npz that has labels.")
    ] = None,
    skip_bad: SkipBadOption = False,
    strict_quality: StrictQualityOption = False,
    threshold_quantile: Annotated[
        float | None,
        typer.Option(
            "--threshold-quantile",
            help="Also refuse images whose error is above this quantile of your own. Keeps "
            "few strangers out: 68 to 76 % of them passed. A margin and public rivals do better.",
        ),
    ] = None,
    dp_epsilon: Annotated[
        float | None,
        typer.Option(
            "--dp-epsilon",
            help="Train a subspace with differential privacy: noise hides each single image. "
            "Above 0, at most 100; lower is more private.",
        ),
    ] = None,
    dp_delta: Annotated[float, typer.Option("--dp-delta", help="Well below 1 / images.")] = 1e-5,
    dp_norm: Annotated[
        float | None,
        typer.Option(
            "--dp-norm",
            help="Clip features to this length, if not the preset's. Choose it without looking at "
            "the images.",
        ),
    ] = None,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    largest_face: LargestFaceOption = False,
    spec_file: SpecOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was interrupted.")
    ] = False,
    force: ForceOption = False,
    device: Annotated[Device, typer.Option("--device", help="Where to train.")] = Device.AUTO,
    encrypt: EncryptOption = False,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a RAN on your own images or vectors. Nothing leaves this device.

    The file holds your model in the clear, unless you encrypt it: keep it, and send only its shares
    (`privedge upload`).

    auto picks a small network by image size, trained against a discriminator (ran32-fine,
    ran64-fine). subspace* is a linear reconstructor without a discriminator; auto picks it where
    an owner has fewer than five pictures, for words of handwriting, and with --components.

    \b
    Examples:
      privedge train photos/ --owner ana --out ana.ran
      privedge train photos/ --owner ana --out ana.ran --cohort faces --config owner-ana.toml
      privedge train photos/ --owner ana --out ana.ran --spec faces.json --encoder face.onnx
      privedge train photos/ --owner ana --out ana.ran --encrypt
      privedge train digits.npz --label 7 --owner ana --out ana.ran --preset ran32
      privedge train vectors.npz --label ana --owner ana --out ana.ran --unit-length
    """
    from privedge.ran.alignment import aligner_for
    from privedge.ran.inputs import opened
    from privedge.user import checkpoint
    from privedge.user.architecture import spec_for, takes_vectors
    from privedge.user.fitting import fit_ran
    from privedge.user.quality import heed_flaws
    from privedge.user.saves import Saves
    from privedge.user.settings import settings_for

    encrypted = encrypt or key_file is not None
    checkpoint.require_replaceable(out, None if force else owner, encrypted=encrypted)
    lock = lock_to_write(encrypt, key_file)
    wanted = to_join(cohort, config, preset, spec_file)
    given = opened(
        images[0] if len(images) == 1 else images,
        label=label,
        skip_bad=skip_bad,
        as_vectors=takes_vectors(wanted),
    )
    files = public_files(encoder, cohort, config, detector=detector)
    spec = spec_for(
        given,
        preset=wanted,
        components=components,
        channels=channels,
        unit_length=unit_length,
        files=files,
    )
    changes: dict[str, Any] = {
        "seed": seed,
        "device": device.value,
        "files": files,
        "largest_face": largest_face,
        "threshold_quantile": threshold_quantile,
        "dp_epsilon": dp_epsilon,
        "dp_delta": dp_delta,
        "dp_norm": dp_norm,
        **({"steps": steps} if steps else {}),
    }
    require_used(spec, encoder, detector, largest_face)
    settings = settings_for(spec, **changes)
    warn_of_template(spec, lock)
    saves = Saves(out.with_name(out.name + ".unfinished"), resume=resume, lock=lock)
    started = time.monotonic()
    pictures = given.at(spec.image, aligner_for(spec, files, largest=largest_face))
    heed_flaws(given, owner, pictures, spec, files=files, care=care(strict_quality))
    with training_bar(settings.steps, "error") as show:
        ran = fit_ran(
            pictures,
            spec,
            settings,
            owner,
            progress=lambda now: show(now.step, now.validation_error),
            saving=saves,
        )
    checkpoint.save(ran, out, lock)
    if settings.steps:
        saves.path.unlink(missing_ok=True)
    _summarise(ran, out, time.monotonic() - started, as_json)


def _summarise(ran: "Ran", out: Path, seconds: float, as_json: bool) -> None:
    from privedge.user import checkpoint

    parameters = sum(value.size for name, value in ran.parameters.items() if name != "threshold")
    summary = {
        "file": str(out),
        "owner": ran.owner,
        "preset": ran.spec.name,
        "images": int(ran.facts["images"]),
        "steps": int(ran.facts["steps"]),
        "held_out": int(ran.facts["held_out"]),
        "validation_mse": checkpoint.validation_error(ran.facts),
        "parameters": parameters,
        "seconds": round(seconds, 3),
        **{name: float(said) for name, said in ran.facts.items() if name.startswith("dp_")},
    }
    if as_json:
        print(json.dumps(summary))
        return
    trained = checkpoint.training_in_words(
        ran.spec,
        int(ran.facts["images"]),
        int(ran.facts["steps"]),
        checkpoint.validation_error(ran.facts),
    )
    print(
        f"{out}: {ran.spec.name} of {ran.owner}, {trained}{_noise_of(ran)}, {parameters:,} "
        f"parameters, {seconds:.1f} s"
    )


def _noise_of(ran: "Ran") -> str:
    """What differential privacy was bought, and whether anything but the mean is left."""
    facts = ran.facts
    if "dp_epsilon" not in facts:
        return ""
    said = f", epsilon {facts['dp_epsilon']} and delta {facts['dp_delta']} for each of them"
    return said if ran.parameters["0.basis"].any() else said + ": the mean alone"
