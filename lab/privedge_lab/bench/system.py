"""Make a deployment to measure, in a temporary folder, with a cohort of synthetic models.

This user on this machine plays all three operators, every owner and the client, so nothing is
private. The models are public random numbers anyway (made.py).
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from privedge.config import ClientConfig
from privedge.errors import ConfigError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.progress import Progress
from privedge.ran import face, features
from privedge.ran.named_spec import spec_named
from privedge.ran.presets import VECTOR, preset
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user import upload
from privedge.user.checkpoint import Ran
from privedge_lab.bench.relay import Relay
from privedge_lab.encoded import require_no_faces

COHORT = "bench"
ENGINES = ("fused", "crypten")
# With this margin the best owner is always good enough, so every answer can be compared.
MARGIN = 1.0

# A query of a large cohort on a slow engine needs minutes, and is still worth measuring.
TIMEOUT_S = 1800.0

POOLS = ("warm", "empty")
RANDOMNESS = ("dealer", "two-party")

_UPLOADS_AT_ONCE = 3
_VECTOR_SIZE = 128


@dataclass(frozen=True)
class Setting:
    """How a deployment is run.

    `pool` is warm (full before a query is asked) or empty (off). `rtt_ms` is the round trip between
    the processes. `batching_delay_ms` is how long a query waits for others to share its run.
    `telemetry`: whether the scores of answers are counted, as by default. `randomness`: who makes
    it.
    """

    pool: str = POOLS[0]
    rtt_ms: float = 0.0
    batching_delay_ms: float | None = None
    telemetry: bool = False
    randomness: str = RANDOMNESS[0]

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown pool or source of randomness."""
        if self.randomness not in RANDOMNESS:
            raise ConfigError(
                f"randomness {self.randomness!r} is unknown; choose from {', '.join(RANDOMNESS)}"
            )
        if self.pool not in POOLS:
            raise ConfigError(f"pool {self.pool!r} is unknown; choose from {', '.join(POOLS)}")

    @property
    def of_parties(self) -> dict[str, Any]:
        """The keys for both party files; a key is left out if the party's default applies."""
        said: dict[str, Any] = {}
        if self.randomness != RANDOMNESS[0]:
            said["randomness"] = self.randomness
        if self.pool == "empty":
            said["pool"] = {"bundles": 0}
        if self.batching_delay_ms is not None:
            said["batching"] = {"delay_ms": self.batching_delay_ms}
        return said


_AS_INSTALLED = Setting()


# What is measured: the name of a preset, or a spec in its place.
Wanted = str | RanSpec


def name_of(wanted: Wanted) -> str:
    """Return what a row calls it."""
    return wanted if isinstance(wanted, str) else wanted.name


def spec_of(wanted: Wanted, files: PublicFiles = NO_FILES) -> RanSpec:
    """Return a spec as it is, or that of a preset: for grey images, behind the encoder of `files`
    if there is one, or for vectors such as face encoders give.

    Raises ConfigError for an unknown name, and for a spec that needs another file or faces.
    """
    if isinstance(wanted, RanSpec):
        require_no_faces(wanted, "made-up pictures have none")
        features.require_files(wanted, files)
        return wanted
    name = wanted
    if name == VECTOR:
        return preset(name, size=_VECTOR_SIZE, unit_length=True)
    if name == face.NAME and files == NO_FILES:  # enough for shapes
        return face.spec()
    return spec_named(name, height=32, width=32, channels=1, files=files)


def check_engine(name: str, also: Sequence[str] = ()) -> None:
    """Raise ConfigError unless parties know the engine `name`; the error also lists `also`."""
    if name not in ENGINES:
        known = ", ".join([*ENGINES, *also])
        raise ConfigError(f"engine {name!r} is unknown; choose from {known}")


@contextmanager
def running(
    spec: RanSpec, engine: str = ENGINES[0], setting: Setting = _AS_INSTALLED
) -> Iterator[Deployment]:
    """Run the dealer and both parties with an empty cohort of a preset's `spec`.

    The cohort accepts any number of components. Raises Unreachable.
    """
    cohort = CohortSetting.of(spec, COHORT, margin=MARGIN)
    if setting.telemetry:
        cohort = replace(cohort, telemetry={})
    settings = {"engine": engine, "query_deadline_s": TIMEOUT_S, **setting.of_parties}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="privedge-bench-"))
        route: Callable[[str], str] = str
        if setting.rtt_ms:
            # The relay delays each direction by half a round trip.
            route = stack.enter_context(Relay(setting.rtt_ms / 2000)).to
        yield stack.enter_context(Deployment(Path(folder), [cohort], settings, route))


def fill(deployment: Deployment, models: Sequence[Ran], progress: Progress) -> None:
    """Upload every model as an owner of its own, a few at a time."""

    def send(number: int) -> None:
        model = models[number]
        upload.send(model, COHORT, owner_config(deployment, model.owner))

    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as threads:
        for done, _ in enumerate(threads.map(send, range(len(models))), start=1):
            progress("upload", done, len(models))


def owner_config(deployment: Deployment, owner: str) -> ClientConfig:
    """Return the configuration of that owner."""
    return deployment.client_config(Identity(Role.OWNER, owner), rpc_timeout_s=TIMEOUT_S)


def client_config(deployment: Deployment, files: PublicFiles = NO_FILES) -> ClientConfig:
    """Return the configuration of the bench's client, who has these public files."""
    client = Identity(Role.CLIENT, "bench")
    return deployment.client_config(client, rpc_timeout_s=TIMEOUT_S, files=files)
