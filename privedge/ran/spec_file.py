"""A spec as a file: public JSON that operators, owners and experiments give by name."""

from pathlib import Path

from privedge import private_file, regular_file
from privedge.errors import ConfigError
from privedge.ran.spec import RanSpec

# The largest spec has 64 layers.
_MAX_BYTES = 1 << 20


def read(path: Path) -> RanSpec:
    """Read the spec at `path`. Raises ConfigError, or CheckpointError for what is no spec."""
    try:
        if regular_file.require(path).st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: is no spec; it is larger than {_MAX_BYTES} bytes")
        return RanSpec.from_json(regular_file.read(path).decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no spec, which is JSON") from None


def write(spec: RanSpec, path: Path) -> None:
    """Write `spec` to `path`. Raises ConfigError if another file is there, and CheckpointError if
    it cannot be written.
    """
    raw = f"{spec.to_json()}\n".encode()
    if path.exists():
        if path.is_file() and regular_file.read(path) == raw:
            return
        raise ConfigError(f"{path}: is there already; remove it, or write to another file")
    private_file.write(path, raw, mode=0o644)
