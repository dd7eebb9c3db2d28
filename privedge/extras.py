"""Which command installs a package that only some people need. Loads none of these packages."""

import importlib.util
from collections.abc import Mapping

from privedge.errors import MissingExtra

_TRAIN = "pip install 'privedge[train]'"
_PARTY = "pip install 'privedge[party]'"
# The name of old for the distribution privedge-lab, which brings all that is missing.
_LABORATORY = "pip install 'privedge[research]'"

# By the name that is imported.
INSTALLED_BY: Mapping[str, str] = {
    "torch": _TRAIN,
    "onnxruntime": "pip install 'privedge[encoder]'",
    **dict.fromkeys(("sqlalchemy", "grpc_reflection", "omegaconf", "yaml", "onnx"), _PARTY),
    # Its metadata asks for a package that no longer exists, so no extra can name it.
    "crypten": "pip install --no-deps crypten==0.4.1",
    **dict.fromkeys(
        ("jinja2", "matplotlib", "psutil", "scipy", "sklearn", "torchmetrics"), _LABORATORY
    ),
}
# As INSTALLED_BY, for a server: it needs more than torch, and one command installs all of it.
INSTALLED_BY_FOR_SERVERS: Mapping[str, str] = {**INSTALLED_BY, "torch": _PARTY}


def missing(
    error: ModuleNotFoundError, who: str, installed_by: Mapping[str, str] = INSTALLED_BY
) -> MissingExtra:
    """What to tell the user about a package that is not installed; `who` needs it.

    Raises `error` itself unless the package is one of `installed_by` and is really not there. One
    that is there but broken lacks a module of its own, or of another package.
    """
    package = (error.name or "").partition(".")[0]
    if package not in installed_by or importlib.util.find_spec(package) is not None:
        raise error
    return MissingExtra(f"{who} needs {package}: {installed_by[package]}")


def require(*packages: str, who: str, installed_by: Mapping[str, str] = INSTALLED_BY) -> None:
    """Raise MissingExtra unless all `packages` are installed. For packages that must not be loaded
    by this process but by one that it starts.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(f"{who} needs {package}: {installed_by[package]}")
