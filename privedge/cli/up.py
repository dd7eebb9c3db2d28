"""`privedge up`: start a private service for the user's own pictures, on this machine."""

import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from privedge.cli.ending import ends_in_order
from privedge.cli.options import (
    DetectorOption,
    EncoderOption,
    JsonOption,
    LargestFaceOption,
    RivalsOption,
    SpecOption,
    StrictQualityOption,
    UnitLengthOption,
    path,
    preset_or_spec,
)
from privedge.cli.progress import progress_bar
from privedge.identity import names

if TYPE_CHECKING:
    from privedge.local.homes import Home
    from privedge.local.servers import Servers
    from privedge.local.up import Ready


_ONE_MACHINE = (
    "On one machine this protects nobody: anyone who controls it has the pictures, the models and "
    "both parties' shares. For privacy, three operators who do not collude run the servers."
)
# At most this many owners are named.
_path = 12


def register(app: typer.Typer) -> None:
    """Add `up`."""
    app.command("up")(_up)


def _up(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE.npz",
            parser=path,
            help="One folder of pictures for each owner, or vectors with labels.",
        ),
    ],
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The architecture; auto: by image size.")
    ] = "auto",
    cohort: Annotated[
        str | None, typer.Option("--cohort", metavar="NAME", help="Its name; default: DIR's.")
    ] = None,
    unit_length: UnitLengthOption = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="SHARE",
            min=0.01,
            max=1,
            help='Answer "unknown" unless the best fit is below this share of the others\'; '
            "1 always names somebody. Default: 0.7 for the preset face, else 1.",
        ),
    ] = None,
    rivals: RivalsOption = None,
    probes: Annotated[
        Path | None,
        typer.Option(
            "--probes",
            metavar="FILE",
            parser=path,
            help="Public probes (`privedge probes make`) that the parties check each model on; "
            "without them they check its values alone.",
        ),
    ] = None,
    randomness: Annotated[
        Literal["dealer", "two-party"],
        typer.Option(
            "--randomness",
            help="Who makes it: a dealer, or the two parties and nobody else (experimental).",
        ),
    ] = "dealer",
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    largest_face: LargestFaceOption = False,
    spec_file: SpecOption = None,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="FOLDER",
            parser=path,
            help="For models, keys and logs; default: privedge-up/NAME.",
        ),
    ] = None,
    strict_quality: StrictQualityOption = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running when this command ends.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop what runs for DIR.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve your own pictures: train, start all servers here, upload, and say how to ask.

    It runs until Ctrl-C; models are kept for the next time, and only owners whose pictures have
    changed are trained again. Nothing is written into DIR. For trying things out: on one machine
    this protects nobody. The preset face takes rivals.npz from beside the encoder.

    auto picks a small network by image size, trained against a discriminator (ran32-fine,
    ran64-fine). subspace* is a linear reconstructor without a discriminator; auto picks it where
    an owner has fewer than five pictures, and for words of handwriting.

    \b
    Examples:
      privedge up people/                 # people/ana/1.jpg, people/ana/2.jpg, people/ben/1.jpg
      privedge up people/ --keep          # leave it running
      privedge up people/ --stop          # and stop it
      privedge up people/ --margin 0.9    # strangers are "unknown"
      privedge up people/ --preset face --encoder encoder.onnx --detector detector.onnx
      privedge up people/ --randomness two-party
      privedge up vectors.npz             # arrays vectors and labels: a label is an owner
    """
    from privedge import extras, systems

    systems.require_linux("`privedge up` starts servers, which run")
    from privedge.local import homes

    started = time.monotonic()
    # Symbolic links are not resolved: the user knows the folder by the link's name.
    pictures = Path(os.path.abspath(folder.expanduser()))
    name = cohort or names.cohort_name(pictures.name)
    names.check_cohort(name)
    place = Path(os.path.realpath(home.expanduser())) if home else homes.default(pictures, name)
    at = homes.Home(place, pictures)
    if stop:
        _stop(at, as_json)
        return
    extras.require(extras.FOR_ALL_ROLES, "training and serving need", extras.FOR_ALL_ROLES)
    from privedge.local.servers import Servers
    from privedge.ran.public_files import PublicFiles

    _require_owners(pictures, place)
    wanted = preset_or_spec(preset, spec_file)
    with ends_in_order(), at.taken(), Servers(at.folder) as servers:
        kept = keep or bool(servers.running)
        ready = _bring_up(
            at,
            servers,
            cohort=name,
            preset=wanted,
            margin=margin,
            files=PublicFiles.at(encoder=encoder, detector=detector),
            largest_face=largest_face,
            unit_length=unit_length,
            strict_quality=strict_quality,
            rivals=rivals,
            probes=probes,
            randomness=randomness,
        )
        if kept:
            servers.keep()
        seconds = time.monotonic() - started
        if as_json:
            _print_json(ready, seconds)
        else:
            _print(ready, seconds, _stop_command(at, folder, kept))
        if not kept:
            _watch(servers)


def _require_owners(pictures: Path, place: Path) -> None:
    """Raise ImageError, before anything is written, if there is nothing to serve."""
    from privedge.local import labelled
    from privedge.local.pictures import places_in
    from privedge.ran.inputs import is_npz

    if is_npz(pictures):
        labelled.look(pictures)
    else:
        places_in(pictures, beside=place)


def _bring_up(home: "Home", servers: "Servers", **asked: Any) -> "Ready":
    with progress_bar() as progress:
        from privedge.local import up  # loads torch, which takes seconds

        return up.bring_up(home, servers, up.Request(**asked), progress, progress.owner, _note)


def _watch(servers: "Servers") -> None:
    try:
        servers.watch()
    except (KeyboardInterrupt, SystemExit):
        # A signal is the normal end of this command.
        if sys.stderr.isatty():
            print("stopping the servers", file=sys.stderr)


def _print_json(ready: "Ready", seconds: float) -> None:
    said = {
        "cohort": ready.cohort,
        "owners": [owner.name for owner in ready.owners],
        "config": str(ready.config),
        "preset": ready.preset,
        "seconds": round(seconds, 3),
    }
    print(json.dumps(said), flush=True)


def _print(ready: "Ready", seconds: float, stop: str) -> None:
    what = "pictures" if ready.owners[0].vectors is None else "vectors"
    count = sum(owner.count for owner in ready.owners)
    owners = _counted([owner.name for owner in ready.owners])
    state = "runs already" if ready.there else f"is ready after {seconds:.0f} s"
    print(f"{ready.cohort} {state}: {owners}, {count} {what}, {ready.preset}")
    if ready.asked:
        print(f"{ready.right} of {ready.asked} {what} that no model learned from: right owner")
    ask = ["query", _shown(ready.sample), "--config", _shown(ready.config)]
    print(f"\nask:   {_program()} {shlex.join([*ask, '--cohort', ready.cohort])}")
    print(f"stop:  {stop}")
    print(f"\n{_ONE_MACHINE}", flush=True)


def _counted(names: list[str]) -> str:
    more = f", ... ({len(names)} owners)" if len(names) > _path else ""
    return ", ".join(names[:_path]) + more


def _stop_command(home: "Home", folder: Path, kept: bool) -> str:
    """Return the command that stops it, for this folder."""
    from privedge.local import homes

    usual = homes.default(home.pictures, names.cohort_name(home.pictures.name))
    where = [] if home.folder == usual else ["--home", _shown(home.folder)]
    command = f"{_program()} {shlex.join(['up', str(folder), '--stop', *where])}"
    return command if kept else f"Ctrl-C, or {command}"


def _program() -> str:
    """Return this command as a shell finds it."""
    found = shutil.which("privedge")
    if Path(sys.argv[0]).name != "privedge" or (found and Path(found).samefile(sys.argv[0])):
        return "privedge"
    return shlex.quote(sys.argv[0])


def _shown(path: Path) -> str:
    """Return the path relative to this folder, if it is inside."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _stop(home: "Home", as_json: bool) -> None:
    from privedge.local import homes

    if sys.stderr.isatty():
        print("stopping the servers", file=sys.stderr)
    stopped = homes.stop(home)
    if as_json:
        print(json.dumps({"stopped": stopped}))
        return
    print(f"{home.folder}: {'stopped' if stopped else 'nothing is running'}")


def _note(text: str) -> None:
    print(f"privedge: note: {text}", file=sys.stderr, flush=True)
