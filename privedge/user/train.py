"""Train a RAN from pictures or vectors: read them, choose an architecture, fit the model.

Sees plaintext images and the model, both the owner's secrets; sends nothing.
"""

from typing import Any

from privedge import extras
from privedge.config import StrPath
from privedge.progress import Progress
from privedge.ran import features
from privedge.ran.alignment import aligner_for
from privedge.ran.inputs import Source, opened
from privedge.ran.public_files import PublicFiles
from privedge.ran.quality import Care
from privedge.ran.spec import RanSpec
from privedge.user.architecture import spec_for, takes_vectors
from privedge.user.checkpoint import Ran
from privedge.user.quality import heed_flaws
from privedge.user.settings import settings_for


def train(  # noqa: PLR0913 - every choice of a training, with a name
    source: Source,
    *,
    owner: str,
    preset: str | RanSpec = "auto",
    components: int | None = None,
    channels: int | None = None,
    unit_length: bool | None = None,
    label: int | str | None = None,
    encoder: StrPath | None = None,
    detector: StrPath | None = None,
    skip_bad: bool = False,
    quality: Care = "warn",
    progress: Progress | None = None,
    **settings: Any,
) -> Ran:
    """Train a RAN on one owner's pictures or vectors. Nothing leaves this device.

    Needs PyTorch (`pip install 'privedge[train]'`). Pictures of any size are accepted and resized
    to the architecture's size. The same pictures and settings give the same RAN, but for
    `dp_epsilon`, whose noise is fresh each time.

    Args:
        source: one picture or more: a folder of PNG, JPEG or WebP files, one such file or a list of
            them, an npz with an array `images`, a Pillow image or a list of them, or an array. An
            array is uint8, 0 to 255, of shape (n, H, W) for grey or (n, H, W, 3) for colour. Or
            vectors: float32 or float64 (n, D), or an npz with an array `vectors`.
        owner: the name in the owner's certificate.
        preset: a name of `privedge.PRESETS`; or "vector"; or "auto", which chooses by the size of
            the pictures, and "vector" for vectors; or the RanSpec of the cohort to join
            (`Owner.architecture`).
        components: the number of components of a subspace preset; None for the preset's number.
        channels: 1 for grey or 3 for colour; None for what the pictures have.
        unit_length: whether vectors are divided by their length; None for what their file says, or
            else no.
        label: the label to train on, for an npz with an array `labels`.
        encoder: a public ONNX file whose output replaces the preset's feature map.
        detector: the ONNX file that finds faces, for the preset `face` and its like.
        skip_bad: leave out files that cannot be decoded, and name them in a warning.
        quality: "warn" of too few, too alike, dark, bright, flat, blurred or mixed pictures;
            "refuse" them; or "ignore" it.
        progress: called with ("train", steps done, steps in all).
        settings: fields of `privedge.user.settings.TrainSettings`, such as `seed`, `steps` or
            `threshold_quantile`.

    Returns:
        The trained model. It is as secret as the pictures: keep it, and send only its shares.

    Raises:
        ImageError: some pictures cannot be used; the message names every bad file.
        QualityError: the pictures have flaws, and `quality` is "refuse".
        TrainingError: the settings do not fit.
        ConfigError: the preset is unknown, or two options exclude each other.
        MissingExtra: PyTorch, or onnxruntime for an encoder, is not installed.

    Example:
        ran = train("pictures/", owner="ana", seed=1)
        ran.save("ana.ran")
    """
    try:
        from privedge.user.fitting import fit_ran
    except ModuleNotFoundError as error:
        raise extras.missing(error, "training needs", extras.FOR_COMMANDS) from None

    public = PublicFiles.at(encoder=encoder, detector=detector)
    pictures = opened(source, label=label, skip_bad=skip_bad, as_vectors=takes_vectors(preset))
    spec = spec_for(
        pictures,
        preset=preset,
        components=components,
        channels=channels,
        unit_length=unit_length,
        files=public,
    )
    chosen = settings_for(spec, **settings, files=public)
    features.require_used(spec, public, largest_face=chosen.largest_face)
    aligner = aligner_for(spec, public, largest=chosen.largest_face)
    images = pictures.at(spec.image, aligner)
    heed_flaws(pictures, owner, images, spec, files=public, care=quality)
    tell = progress or (lambda *_: None)
    return fit_ran(
        images,
        spec,
        chosen,
        owner,
        progress=lambda now: tell("train", now.step, now.steps),
    )
