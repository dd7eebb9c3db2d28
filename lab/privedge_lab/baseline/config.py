"""Configuration of a device that asks the split server."""

from pathlib import Path

from privedge.config import Address, CallerConfig


class SplitClientConfig(CallerConfig):
    """How a device reaches the split server, and which head and key it has."""

    server: Address
    head: Path
    key: Path
