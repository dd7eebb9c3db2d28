"""Configuration of the split server: read once at the door, frozen, unknown keys refused."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from parties.config import ServerConfig
from privedge.config import Section


class SplitLimits(Section):
    """What the split server accepts. A refusal is RESOURCE_EXHAUSTED."""

    # Images in one call, and their activations in all.
    max_batch: int = Field(default=64, ge=1, le=4096)
    max_query_mib: int = Field(default=64, ge=1, le=1024)
    # Calls at once, from their first byte until their answer is sent: of all clients, and of one.
    max_queries: int = Field(default=32, ge=1, le=1024)
    max_queries_per_client: int = Field(default=8, ge=1)


class SplitConfig(ServerConfig):
    """The plaintext baseline's server: `python -m parties split --config FILE`."""

    # NAME.tail, as `privedge split train` writes it.
    tail: Path
    # logits tell clients more about the network than the label they ask for.
    answers: Literal["labels", "logits"] = "labels"
    query_deadline_s: float = Field(default=60, gt=0)
    limits: SplitLimits = SplitLimits()
