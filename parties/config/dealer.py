"""The dealer's file."""

from pydantic import Field

from parties.config.server import ServerConfig
from privedge.config import Section


class DealerLimits(Section):
    """What the dealer accepts from the parties."""

    max_elements: int = Field(default=1 << 26, ge=1, description="Elements of one tuple.")
    max_sessions: int = Field(default=1024, ge=1, description="Sessions that may run at once.")
    weight_cache_mib: int = Field(
        default=1024,
        ge=0,
        description="Memory for the masks of weights that are kept between queries, in MiB. With "
        "0, they are expanded again for every query.",
    )


class DealerTimeouts(Section):
    """How long the dealer waits."""

    pairing_s: float = Field(
        default=20,
        gt=0,
        description="Seconds to wait for the second party, once the first has opened a session.",
    )


class DealerConfig(ServerConfig):
    """The dealer: `python -m parties dealer --config FILE`."""

    limits: DealerLimits = DealerLimits()
    timeouts: DealerTimeouts = DealerTimeouts()
