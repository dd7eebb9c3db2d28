"""Configuration of a device that asks the split server."""

from pathlib import Path

from pydantic import Field

from privedge.config import Address, CallerConfig


class SplitClientConfig(CallerConfig):
    """How a device reaches the split server, and which head and key it uses."""

    server: Address = Field(description="Where the split server listens.")
    head: Path = Field(description="NAME.head, as `privedge split train` writes it.")
    key: Path = Field(description="NAME.key, the device's 32 bytes; readable by its user only.")
