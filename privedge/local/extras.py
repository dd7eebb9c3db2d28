"""The packages that training and serving need beyond a client's. Loads none of them."""

import importlib.util

from privedge.errors import MissingExtra

_EXTRAS = "pip install 'privedge[train,party]'"
_INSTALLED_BY = {
    "torch": _EXTRAS,
    "sqlalchemy": _EXTRAS,
    "grpc_reflection": _EXTRAS,
    "omegaconf": _EXTRAS,
    "yaml": _EXTRAS,
    "onnx": _EXTRAS,
    "crypten": "pip install --no-deps crypten==0.4.1",
}


def require() -> None:
    """Raise MissingExtra, with the commands that install them, if packages are missing."""
    missing = [name for name in _INSTALLED_BY if importlib.util.find_spec(name) is None]
    if missing:
        commands = " && ".join(dict.fromkeys(_INSTALLED_BY[name] for name in missing))
        raise MissingExtra(
            f"training and serving need more packages ({', '.join(missing)}): {commands}"
        )
