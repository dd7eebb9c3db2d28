"""Bring up a private service on this machine, from a folder of folders of pictures or an npz.

    1.  read the pictures or vectors: one folder, or one label, is one owner
    2.  train a model for each owner whose pictures have changed
    3.  start the dealer and both parties as processes, or the two parties alone
    4.  upload one share of each model to each party
    5.  ask with pictures that no model learned from

Steps that were done before are not repeated. Sees everything: it plays all owners, the client and
the three operators, so nothing is private from this machine.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from privedge.arrays import Vectors
from privedge.client.query import Client
from privedge.errors import Busy, CertificateError, DeadlineExceeded, QualityError, Refused
from privedge.identity.roles import Identity, Role
from privedge.local import labelled, models, pictures
from privedge.local.deployment import CohortSetting, Deployment
from privedge.local.homes import Home
from privedge.local.models import Plan
from privedge.local.pictures import Owner, Pictures
from privedge.local.servers import Servers
from privedge.progress import Progress
from privedge.ran import face, model_bounds, npz, probes, rivals
from privedge.ran.alignment import Aligner, aligner_for
from privedge.ran.feature_kinds import Encoder, Pixels
from privedge.ran.images import Measured
from privedge.ran.inputs import is_npz, opened
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.quality import Flaw
from privedge.ran.spec import RanSpec, Subspace
from privedge.user import checkpoint, upload
from privedge.user.many import Watch
from privedge.user.quality import flaws

# A trial on a nearly full disk is nobody's outage.
_SETTINGS: dict[str, Any] = {"disk": {"min_free_percent": 0}}
_ASKED = 64
# Certificates are valid for 90 days. Servers that have run for 60 days get new ones and restart.
_RENEWED_S = 60 * 86_400.0
_CLIENT = Identity(Role.CLIENT, "me")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to serve. `preset` is a name, "auto" or a spec.

    margin: below 1 allows "unknown"; None for that of the preset face, and 1 for others.
    files: the public files that the spec names, or whose encoder the preset gets.
    largest_face: whether the largest of several faces in a picture is meant.
    unit_length: whether vectors are divided by their length; None for no.
    strict_quality: whether poor pictures are an error.
    rivals: the file of public rivals; None for the one beside the encoder of the preset face.
    probes: public probes, which models are checked on; None to check their values alone.
    randomness: who makes it, as in the parties' files.
    """

    cohort: str
    preset: str | RanSpec
    margin: float | None = None
    files: PublicFiles = NO_FILES
    largest_face: bool = False
    unit_length: bool | None = None
    strict_quality: bool = False
    rivals: Path | None = None
    probes: Path | None = None
    randomness: str = "dealer"

    @property
    def settings(self) -> dict[str, Any]:
        """Keys of both parties' files."""
        alone = {} if self.randomness == "dealer" else {"randomness": self.randomness}
        return _SETTINGS | alone


@dataclass(frozen=True)
class Ready:
    """The service that is up.

    config: the client's configuration file.
    sample: a picture, or a file with one vector, to ask with.
    asked, right: how many pictures that no model learned from were asked, and how many were
        answered with their owner; both 0 with a single owner.
    there: whether all servers ran already.
    """

    cohort: str
    owners: tuple[Owner, ...]
    preset: str
    config: Path
    sample: Path
    asked: int
    right: int
    there: bool


def bring_up(
    home: Home, servers: Servers, request: Request, progress: Progress, watch: Watch, say: Say
) -> Ready:
    """Do all five steps. `say` is called with notes for people. Raises the error of a step."""
    # Before anything is read.
    checked = models.require_usable(request.preset, request.files)
    aligner = aligner_for(checked, request.files, largest=request.largest_face) if checked else None
    request = _with_usual_rivals(request, say)
    found = _looked(home, progress, aligner)
    plan, notes = models.plan(
        found,
        request.preset,
        request.files,
        largest_face=request.largest_face,
        unit_length=request.unit_length,
        rivals=request.rivals is not None,
    )
    if request.rivals is not None:
        rivals.read(request.rivals, plan.spec)  # one that does not fit is found before training
    if request.probes is not None:
        probes.read(request.probes, plan.spec)
    for note in (*found.notes, *notes):
        say(note)
    _judge(plan, home, request, aligner, found.shared, say)
    models.train(plan, home, progress, watch)
    return _serve(plan, home, servers, request, progress, say)


def _with_usual_rivals(request: Request, say: Say) -> Request:
    """Take the rivals that the recipe of the preset face puts beside its encoder."""
    if request.preset != face.NAME or request.rivals is not None or request.files.encoder is None:
        return request
    usual = request.files.encoder.with_name(face.RIVALS)
    if usual.exists():
        say(f"public rivals: {usual}")
        return replace(request, rivals=usual)
    say(
        f"no public rivals: {usual} is not there; strangers are kept out better with it, and one "
        "owner alone needs it (make face-recipe, or privedge rivals make)"
    )
    return request


def _looked(home: Home, progress: Progress, aligner: Aligner | None) -> Pictures:
    if is_npz(home.pictures):
        progress("read vectors", 0, 1)
        return labelled.look(home.pictures)
    record = home.record
    known = {
        digest: (Measured(*size, count=1), record.pixels[digest])
        for digest, size in record.sizes.items()
        if digest in record.pixels
    }
    found = pictures.look(
        home.pictures, beside=home.folder, known=known, progress=progress, aligner=aligner
    )
    sizes = {digest: (s.height, s.width, s.channels) for digest, s in found.sizes.items()}
    home.write(replace(record, sizes=sizes, pixels=dict(found.pixels)))
    return found


def _judge(
    plan: Plan,
    home: Home,
    request: Request,
    aligner: Aligner | None,
    shared: Mapping[str, Sequence[Flaw]],
    say: Say,
) -> None:
    """Say what is wrong with the pictures of owners that are to be trained. Raises QualityError for
    any owner if the request is strict.
    """
    trained, origins = home.record.models, plan.origins
    lines = [
        f"{owner.name}: {flaw.text}"
        for owner in plan.owners
        if request.strict_quality or trained.get(owner.name) != origins[owner.name]
        for flaw in _flaws(owner, plan, request, aligner)
    ]
    lines += [f"{owner}: {flaw.text}" for owner, found in shared.items() for flaw in found]
    if request.strict_quality and lines:
        raise QualityError("; ".join(lines))
    for line in lines:
        say(line)


def _flaws(owner: Owner, plan: Plan, request: Request, aligner: Aligner | None) -> Sequence[Flaw]:
    """Return what is wrong with an owner's set; behind an encoder, by what this makes of it too."""
    if not isinstance(plan.spec.features, Encoder):
        return owner.flaws()
    given = opened(list(owner.files))
    return flaws(given, given.at(plan.spec.image, aligner), plan.spec, request.files)


def _serve(
    plan: Plan, home: Home, servers: Servers, request: Request, progress: Progress, say: Say
) -> Ready:
    cohort, public = _cohort(plan.spec, request)
    wanted = models.digest_of(vars(cohort), plan.origins, *public, *_settings_said(request))
    running = servers.running
    if home.record.serving == wanted and not (running and _is_old(home)):
        try:
            started = _go_on(plan, home, servers, cohort, request, progress)
            return _answering_now_or_soon(plan, home, request, there=not started)
        except (Refused, CertificateError) as error:
            say(f"the servers that were here do not answer and are replaced ({error})")
    _begin(plan, home, servers, cohort, request, progress)
    home.write(replace(home.record, serving=wanted))
    return _answering(plan, home, request, there=False)


def _cohort(spec: RanSpec, request: Request) -> tuple[CohortSetting, list[str]]:
    """The cohort's table, and the digests of the public files that it names."""
    usual = face.MARGIN if spec.name == face.NAME else 1.0
    margin = usual if request.margin is None else request.margin
    cohort, digests = CohortSetting.of(spec, request.cohort, margin=margin), list[str]()
    if request.rivals is not None:
        digests.append(rivals.read(request.rivals, spec).digest)
        cohort = replace(cohort, rivals=str(request.rivals.absolute()))
    if request.probes is not None:
        digests.append(probes.read(request.probes, spec).digest)
        named = {"probes": str(request.probes.absolute())}
        return replace(cohort, model_check=named), digests
    return replace(cohort, model_check={} if _is_checked(spec) else None), digests


def _is_checked(spec: RanSpec) -> bool:
    """Whether the values of models are checked where nobody has said so. Of a single subspace that
    takes a moment; a network in layers has a comparison for each of its weights, maybe millions.
    Of a spec of plain pixels, large pictures on white have a mean that is out of bounds.
    """
    is_linear = isinstance(spec.layers[0], Subspace) and len(spec.layers) == 1
    pixels = math.prod(spec.input_shape) if isinstance(spec.features, Pixels) else 0
    return is_linear and pixels < model_bounds.most_energy(spec)


def _settings_said(request: Request) -> list[str]:
    """What servers that run must have been started with; nothing for a dealer, as before it could
    be said.
    """
    return [] if request.randomness == "dealer" else [request.randomness]


def _go_on(
    plan: Plan,
    home: Home,
    servers: Servers,
    cohort: CohortSetting,
    request: Request,
    progress: Progress,
) -> int:
    """Start the servers that do not run, and say how many those were. The parties have kept the
    models.
    """
    running = servers.running
    if not running:
        home.remove("certs", "logs")
    ports = home.record.ports if running else ()
    deployment = Deployment(home.folder, [cohort], request.settings, ports=ports)
    return _start(plan, home, servers, deployment, progress)


def _begin(
    plan: Plan,
    home: Home,
    servers: Servers,
    cohort: CohortSetting,
    request: Request,
    progress: Progress,
) -> None:
    """Start all servers with empty stores, and upload every model."""
    servers.stop()
    home.write(replace(home.record, serving=""))
    home.remove("certs", "logs", "state")
    deployment = Deployment(home.folder, [cohort], request.settings)
    _start(plan, home, servers, deployment, progress)
    progress("upload", 0, len(plan.owners))
    for count, owner in enumerate(plan.owners, start=1):
        config = deployment.client_config(Identity(Role.OWNER, owner.name))
        upload.send(checkpoint.load(home.model(owner.name)), cohort.name, config)
        progress("upload", count, len(plan.owners))


def _start(
    plan: Plan, home: Home, servers: Servers, deployment: Deployment, progress: Progress
) -> int:
    home.write(replace(home.record, ports=deployment.ports))
    running = servers.running
    missing = [server for server in deployment.servers if server not in running]
    servers.start(deployment, missing)
    servers.wait_ready(deployment, progress)
    deployment.write_client_config(_CLIENT, home.client_config, files=plan.settings.files)
    return len(missing)


def _answering_now_or_soon(plan: Plan, home: Home, request: Request, *, there: bool) -> Ready:
    """The same as `_answering`, which is tried twice: to replace servers that are only slow, on a
    busy machine, would take longer.
    """
    try:
        return _answering(plan, home, request, there=there)
    except (Busy, DeadlineExceeded):
        return _answering(plan, home, request, there=there)


def _answering(plan: Plan, home: Home, request: Request, *, there: bool) -> Ready:
    """Ask about one picture or vector of each owner from which its model did not learn."""
    owners = [owner for owner in plan.owners if len(plan.held_out(owner))][:_ASKED]
    # Owners of a few pictures hold none out. Whether the servers answer, any picture shows.
    samples = [plan.held_out(owner)[0] for owner in owners] or [plan.owners[0].any_one]
    with Client.from_file(home.client_config, largest_face=request.largest_face) as client:
        answers = client.identify(samples, request.cohort).answers
    alone = len(plan.owners) == 1
    right = [answer.owner == owner.name for answer, owner in zip(answers, owners, strict=False)]
    return Ready(
        cohort=request.cohort,
        owners=plan.owners,
        preset=plan.spec.name,
        config=home.client_config,
        sample=_sample(samples[0], home),
        asked=0 if alone else len(owners),
        right=0 if alone else sum(right),
        there=there,
    )


def _sample(given: Path | Vectors, home: Home) -> Path:
    """Return a file to ask with, which is made for a vector."""
    if isinstance(given, Path):
        return given
    npz.write(home.sample, given[None])
    return home.sample


def _is_old(home: Home) -> bool:
    """Return whether the certificates may soon expire."""
    try:
        made = (home.folder / "certs" / "ca.crt").stat().st_mtime
    except FileNotFoundError:
        return True
    return time.time() - made > _RENEWED_S
