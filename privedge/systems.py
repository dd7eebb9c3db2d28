"""Which systems the two sides run on: devices of owners and clients anywhere, servers on Linux."""

import platform

from privedge.errors import ConfigError


def require_linux(what: str) -> None:
    """Raise ConfigError on any other system; `what` runs on Linux only."""
    here = platform.system()
    if here != "Linux":
        raise ConfigError(
            f"{what} on Linux only, and this is {here or 'an unknown system'}; training, "
            "uploading and asking work here"
        )
