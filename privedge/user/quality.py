"""Judge an owner's pictures before training. Sees plaintext images; sends nothing."""

from collections.abc import Mapping

from privedge.arrays import Inputs, is_pixels
from privedge.errors import ImageError, QualityError
from privedge.ran import features, quality
from privedge.ran.feature_kinds import Encoder
from privedge.ran.inputs import Opened, Source, opened
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.quality import Care, Flaw
from privedge.ran.spec import RanSpec
from privedge.user.own_images import require_told_apart


def check_quality(
    source: Source, *, label: int | str | None = None, skip_bad: bool = False
) -> tuple[Flaw, ...]:
    """Find what is wrong with one owner's pictures or vectors. Nothing leaves this device.

    Args:
        source: pictures or vectors in any form that `train` accepts.
        label: the label to look at, for an npz with an array `labels`.
        skip_bad: leave out files that cannot be decoded, and name them in a warning.

    Returns:
        One flaw for each kind: too few, too alike, too dark, too bright, without contrast, blurred,
        or one unlike all others; of vectors too few, repeated, or with constant columns. Empty if
        nothing is wrong.

    Raises:
        ImageError: some pictures cannot be used; the message names every bad file.

    Example:
        for flaw in check_quality("pictures/"):
            print(flaw.text)
    """
    return tuple(flaws(opened(source, label=label, skip_bad=skip_bad)))


def flaws(
    pictures: Opened,
    inputs: Inputs | None = None,
    spec: RanSpec | None = None,
    files: PublicFiles = NO_FILES,
) -> list[Flaw]:
    """Judge the pictures or vectors of one owner.

    inputs: what `pictures.at` gives for `spec`; if it has an encoder, these are judged by it too.
    """
    if pictures.array is not None and not is_pixels(pictures.array):
        return quality.of_vectors(pictures.array)
    if inputs is None or spec is None or not isinstance(spec.features, Encoder):
        return quality.of_own(pictures.greys, pictures.names)
    found = quality.of_own(pictures.greys, pictures.names, enough=quality.FEW_ENCODED)
    if all(flaw.kind != "mixed" for flaw in found):
        encoded = features.extract(spec, inputs, encoder=files.encoder)
        names = pictures.names
        # Pictures without a face may have been left out.
        if len(names) != len(encoded):
            names = [f"picture {number}" for number in range(len(encoded))]
        found += quality.of_encoded(encoded, names)
    return found


def heed_flaws(
    pictures: Opened,
    owner: str,
    inputs: Inputs | None,
    spec: RanSpec,
    *,
    files: PublicFiles = NO_FILES,
    care: Care,
) -> None:
    """Warn of the flaws of an owner's pictures, or raise QualityError, as `care` says.

    inputs, spec, files: as for `flaws`.
    """
    quality.require_known(care)
    if care != "ignore":
        quality.heed(flaws(pictures, inputs, spec, files), owner, care)


def flaws_of_all(
    owners: Mapping[str, Opened],
    inputs: Mapping[str, Inputs],
    spec: RanSpec | None,
    files: PublicFiles = NO_FILES,
) -> dict[str, list[Flaw]]:
    """Judge the pictures or vectors of several owners, also for what two of them have in common.

    inputs: by owner, as for `flaws`. Raises one ImageError that names all owners of whose vectors,
    or of what an encoder makes of them, nothing can be learned.
    """
    found, bad = {}, []
    for owner, given in owners.items():
        try:
            if spec is not None and given.array is not None:
                require_told_apart(given.array, spec)
            found[owner] = flaws(given, inputs.get(owner), spec, files)
        except ImageError as error:
            bad.append(f"{owner}: {error}")
    if bad:
        raise ImageError("; ".join(bad))
    shared = quality.shared(
        {owner: given.digests for owner, given in owners.items()},
        {owner: given.names for owner, given in owners.items()},
    )
    return {owner: some + shared.get(owner, []) for owner, some in found.items()}


def heed_flaws_of_all(
    owners: Mapping[str, Opened],
    inputs: Mapping[str, Inputs],
    spec: RanSpec,
    *,
    files: PublicFiles = NO_FILES,
    care: Care,
) -> None:
    """The same for several owners. If flaws are refused, one QualityError names all."""
    refused = []
    for owner, some in flaws_of_all(owners, inputs, spec, files).items():
        try:
            quality.heed(some, owner, care)
        except QualityError as error:
            refused.append(str(error))
    if refused:
        raise QualityError("; ".join(refused))
