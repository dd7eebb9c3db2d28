"""Configuration of the split server: read once at the door, frozen, unknown keys refused."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from parties.config.server import ServerConfig
from privedge.config import Section


class SplitLimits(Section):
    """What the split server accepts. A refusal is RESOURCE_EXHAUSTED."""

    max_batch: int = Field(default=64, ge=1, le=4096, description="Images in one call.")
    max_query_mib: int = Field(
        default=64, ge=1, le=1024, description="Activations in one call, in MiB."
    )
    max_queries: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Calls of all clients at once, from their first byte until their answer is "
        "sent.",
    )
    max_queries_per_client: int = Field(
        default=8, ge=1, description="The same, of one client's name."
    )


class SplitConfig(ServerConfig):
    """The plaintext baseline's server: `python -m parties split --config FILE`."""

    tail: Path = Field(description="NAME.tail, as `privedge split train` writes it.")
    answers: Literal["labels", "logits"] = Field(
        default="labels",
        description="`labels`: one label an image. `logits`: all scores, which tell clients more "
        "about the network than the label they ask for.",
    )
    query_deadline_s: float = Field(
        default=60, gt=0, le=3600, description="Seconds that a call may take, from its first byte."
    )
    limits: SplitLimits = SplitLimits()
