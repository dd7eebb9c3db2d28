"""A deployment to measure: made in a temporary folder, with a cohort of made-up models in it.

All three operators, every owner and the client are this user on this machine, so nothing in it is
private; the models are public random numbers anyway (made.py).
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privedge.config import ClientConfig
from privedge.errors import ConfigError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.user import upload
from privedge.user.checkpoint import Ran
from privedge_lab.bench.relay import Relay

COHORT = "bench"
ENGINES = ("fused", "crypten")
# Somebody is always best enough, so that every answer can be compared.
MARGIN = 1.0

# A large cohort on a slow engine takes minutes a query, and is still worth a number.
TIMEOUT_S = 1800.0

POOLS = ("warm", "empty")

_UPLOADS_AT_ONCE = 3

# Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Setting:
    """How a deployment is run: `pool` warm (full before a query is asked) or empty (off), the round
    trip between its processes, and how long a query waits for others to be computed with.
    """

    pool: str = POOLS[0]
    rtt_ms: float = 0.0
    batching_delay_ms: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError."""
        if self.pool not in POOLS:
            raise ConfigError(f"pool {self.pool!r} is unknown; choose from {', '.join(POOLS)}")

    @property
    def of_parties(self) -> dict[str, Any]:
        """The keys of both party files; nothing that a party does by itself is said."""
        said: dict[str, Any] = {}
        if self.pool == "empty":
            said["pool"] = {"bundles": 0}
        if self.batching_delay_ms is not None:
            said["batching"] = {"delay_ms": self.batching_delay_ms}
        return said


_AS_INSTALLED = Setting()


def spec_of(name: str) -> RanSpec:
    """The preset `name` for grey images. Raises ConfigError for an unknown one."""
    return preset(name, height=32, width=32, channels=1)


def check_engine(name: str, also: Sequence[str] = ()) -> None:
    """Raises ConfigError, naming those in `also` too, unless parties know the engine."""
    if name not in ENGINES:
        known = ", ".join([*ENGINES, *also])
        raise ConfigError(f"engine {name!r} is unknown; choose from {known}")


@contextmanager
def running(
    spec: RanSpec, engine: str = ENGINES[0], setting: Setting = _AS_INSTALLED
) -> Iterator[Deployment]:
    """Dealer and both parties, serving an empty cohort of a preset's `spec`, with any number of
    components. Raises Unreachable.
    """
    cohort = CohortSetting(
        COHORT,
        spec.name,
        channels=spec.image.channels,
        margin=MARGIN,
        components=spec.components,
    )
    settings = {"engine": engine, "query_deadline_s": TIMEOUT_S, **setting.of_parties}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="privedge-bench-"))
        route: Callable[[str], str] = str
        if setting.rtt_ms:
            # Half a round trip each way.
            route = stack.enter_context(Relay(setting.rtt_ms / 2000)).to
        yield stack.enter_context(Deployment(Path(folder), [cohort], settings, route))


def fill(deployment: Deployment, models: Sequence[Ran], progress: Progress) -> None:
    """Upload every model as its own owner, a few at once."""

    def send(number: int) -> None:
        model = models[number]
        upload.send(model, COHORT, owner_config(deployment, model.owner))

    with ThreadPoolExecutor(_UPLOADS_AT_ONCE) as threads:
        for done, _ in enumerate(threads.map(send, range(len(models))), start=1):
            progress("upload", done, len(models))


def owner_config(deployment: Deployment, owner: str) -> ClientConfig:
    """How that owner reaches the parties."""
    return deployment.client_config(Identity(Role.OWNER, owner), rpc_timeout_s=TIMEOUT_S)


def client_config(deployment: Deployment) -> ClientConfig:
    """How the bench asks."""
    return deployment.client_config(Identity(Role.CLIENT, "bench"), rpc_timeout_s=TIMEOUT_S)
