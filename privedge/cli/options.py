"""Options that several commands share, and the command itself."""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

if TYPE_CHECKING:
    from privedge.config import Integrity
    from privedge.ran.public_files import PublicFiles
    from privedge.ran.quality import Care
    from privedge.ran.spec import RanSpec
    from privedge.user.sealed import Lock

log = logging.getLogger(__name__)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", help="Where the parties are and who you are (TOML)."),
]
DEFAULT_CONFIG = Path("privedge.toml")


def path(name: str) -> Path:
    """Read the name of a file or folder; an empty one would mean the current folder.

    The help shows the name of this function as what is expected.
    """
    if not name:
        raise typer.BadParameter("the name of the file or folder is empty")
    return Path(name)


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text, for machines.")
]

DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FILE.npz|FOLDER",
        help="Images (uint8) or vectors, and labels; or a folder of images for each class.",
    ),
]

JoinOption = Annotated[
    str | None,
    typer.Option(
        "--cohort", metavar="NAME", help="Train for this cohort: its architecture, from party 0."
    ),
]

EncoderOption = Annotated[
    Path | None,
    typer.Option(
        "--encoder", metavar="FILE", parser=path, help="The public ONNX encoder, if there is one."
    ),
]

DetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector", metavar="FILE", parser=path, help="The ONNX file that finds faces, if needed."
    ),
]

LargestFaceOption = Annotated[
    bool,
    typer.Option("--largest-face", help="Of several faces in a picture take the largest."),
]

SpecOption = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        metavar="FILE",
        parser=path,
        help="The architecture as JSON, in place of a preset, as from `encoder wrap`.",
    ),
]

ChannelsOption = Annotated[
    int | None,
    typer.Option("--channels", help="1 for grey, 3 for colour, if not what the images have."),
]

UnitLengthOption = Annotated[
    bool | None,
    typer.Option(
        "--unit-length/--no-unit-length",
        help="For vectors: divide each by its length, or not (the default).",
        show_default=False,
    ),
]

SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out files that cannot be read, and name them.")
]

StrictQualityOption = Annotated[
    bool,
    typer.Option(
        "--strict-quality",
        help="Stop at pictures that are too few, alike, dark, bright, flat, blurred or mixed, "
        "instead of a warning.",
    ),
]

IntegrityOption = Annotated[
    str | None,
    typer.Option(
        "--integrity",
        metavar="none|canaries:N",
        help="N = 1, 3 or 7 more rows with known answers; default: what the file says.",
    ),
]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a file that is there, whatever it is.")
]

EncryptOption = Annotated[
    bool,
    typer.Option(
        "--encrypt",
        help="Encrypt the file with a passphrase: of PRIVEDGE_PASSPHRASE, or asked for.",
    ),
]

KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        parser=path,
        help="The file of random bytes that encrypts a RAN, in place of a passphrase.",
    ),
]

RivalsOption = Annotated[
    Path | None,
    typer.Option(
        "--rivals",
        metavar="FILE",
        parser=path,
        help="The cohort's public rivals (`privedge rivals make`), without which one owner alone "
        "is named for everybody.",
    ),
]

ProcessesOption = Annotated[
    int | None,
    typer.Option("--processes", min=1, help="That train side by side; default one a core."),
]


def known_integrity(text: str | None) -> "Integrity | None":
    """What `--integrity` says."""
    from privedge.config import Integrity

    known: tuple[Integrity, ...] = get_args(Integrity)
    for each in known:
        if text == each:
            return each
    if text is None:
        return None
    raise typer.BadParameter(f"one of {', '.join(known)}", param_hint="--integrity")


def care(strict_quality: bool) -> "Care":
    """What to do about poor pictures."""
    return "refuse" if strict_quality else "warn"


def without_effect(context: typer.Context, why: str, *names: str) -> None:
    """Refuse options of the command line that would change nothing, and say why they would not.

    names: of the command's parameters. Raises BadParameter.
    """
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"{why}; leave it out", param_hint=parameter.opts[0])


def to_join(
    cohort: str | None, config: Path, preset: str, spec: Path | None = None
) -> "str | RanSpec":
    """Return the preset's name, or the spec in a file, or ask party 0 for that of a cohort."""
    if cohort is None:
        return preset_or_spec(preset, spec)
    from privedge.config import ClientConfig, load
    from privedge.user.architecture import of_cohort

    for value, usual, option in ((preset, "auto", "--preset"), (spec, None, "--spec")):
        if value != usual:
            raise typer.BadParameter(
                "the cohort sets the architecture; leave it out", param_hint=option
            )
    return of_cohort(cohort, load(ClientConfig, config))


def preset_or_spec(preset: str, spec: Path | None, *, usual: str = "auto") -> "str | RanSpec":
    """Return the preset's name, or the spec in a file.

    usual: the preset that one need not name.
    """
    if spec is None:
        return preset
    from privedge.ran import spec_file

    if preset != usual:
        raise typer.BadParameter("a spec has the architecture", param_hint="--preset and --spec")
    return spec_file.read(spec)


def public_files(
    encoder: Path | None, cohort: str | None, config: Path, *, detector: Path | None = None
) -> "PublicFiles":
    """Return the files of options, or else those of the configuration with which one joins."""
    from privedge.config import ClientConfig, load
    from privedge.ran.public_files import PublicFiles

    if cohort is not None and None in (encoder, detector):
        named = load(ClientConfig, config)
        encoder, detector = encoder or named.encoder, detector or named.detector
    return PublicFiles.at(encoder=encoder, detector=detector)


def require_used(
    spec: "RanSpec", encoder: Path | None, detector: Path | None, largest_face: bool
) -> None:
    """Raise ConfigError if one of these options would be ignored."""
    from privedge.ran.features import require_used as required
    from privedge.ran.public_files import PublicFiles

    given = PublicFiles.at(encoder=encoder, detector=detector)
    required(spec, given, largest_face=largest_face)


def lock_to_write(encrypt: bool, key_file: Path | None) -> "Lock | None":
    """Return what encrypts a RAN, if anything. May ask for a passphrase, twice."""
    from privedge.user.sealed import Lock

    if encrypt and key_file is not None:
        raise typer.BadParameter("--encrypt asks for a passphrase; give it or --key-file, not both")
    return Lock.of(_passphrase(twice=True) if encrypt else None, key_file)


def lock_to_read(file: Path, key_file: Path | None) -> "Lock | None":
    """Return what decrypts the RAN at `file`. Asks for a passphrase if it needs one."""
    from privedge.user import sealed

    try:
        said = sealed.header_of(file)
    except OSError:  # whoever reads it says what is wrong
        said = None
    asks = said is not None and said["kind"] == sealed.PASSPHRASE
    return sealed.Lock.of(_passphrase(twice=False) if asks else None, None if asks else key_file)


def _passphrase(*, twice: bool) -> str:
    if (given := os.environ.get("PRIVEDGE_PASSPHRASE")) is not None:
        return given
    if not sys.stdin.isatty():
        raise typer.BadParameter("set PRIVEDGE_PASSPHRASE, or type it at a terminal, or --key-file")
    asked: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=twice, err=True)
    return asked


def warn_of_template(spec: "RanSpec", lock: "Lock | None") -> None:
    """Warn that a model behind an encoder, in the clear, identifies a person elsewhere too."""
    if lock is None and spec.features.kind == "encoder":
        log.warning(
            "behind an encoder a RAN is a biometric template: whoever has the file can find this "
            "person elsewhere; --encrypt keeps it closed"
        )


def command_line() -> str:
    """Return this command as a line of shell, to be stored with its results."""
    return shlex.join(["privedge", *sys.argv[1:]])
