"""Which command installs a package that only some people need. Loads none of these packages."""

import importlib.util
from collections.abc import Iterable, Mapping

from privedge.errors import MissingExtra

CRYPTEN = "crypten==0.4.1"
_CRYPTEN = f"pip install --no-deps {CRYPTEN}"
_SERVING = (
    "torch", "numba", "sqlalchemy", "grpc_reflection", "omegaconf", "yaml", "onnx", "packaging",
    "prometheus_client",
)  # fmt: skip

# By the name that is imported: what a server needs.
FOR_SERVERS: Mapping[str, str] = {
    **dict.fromkeys(_SERVING, "pip install 'privedge[party]'"),
    # Its metadata asks for a package that no longer exists, so no extra can bring it.
    "crypten": _CRYPTEN,
}
# What `privedge up` needs, which trains and starts servers.
FOR_ALL_ROLES: Mapping[str, str] = {
    **dict.fromkeys(("parties", *_SERVING), "pip install 'privedge[train,party]'"),
    "crypten": _CRYPTEN,
}
# What a process needs that sends traces.
FOR_TRACES: Mapping[str, str] = {"opentelemetry": "pip install 'privedge[otel]'"}
# What a device needs for a public encoder.
FOR_ENCODERS: Mapping[str, str] = dict.fromkeys(
    ("onnx", "onnxruntime"), "pip install 'privedge[encoder]'"
)
# What any other command may need.
FOR_COMMANDS: Mapping[str, str] = {
    **FOR_SERVERS,
    "torch": "pip install 'privedge[train]'",
    **FOR_ENCODERS,
    "pillow_heif": "pip install 'privedge[heic]'",
    # The name of old for the distribution privedge-lab, which brings all of these.
    **dict.fromkeys(
        ("jinja2", "matplotlib", "psutil", "scipy", "sklearn", "torchmetrics"),
        "pip install 'privedge[research]'",
    ),
}


def missing(error: ModuleNotFoundError, needs: str, installed_by: Mapping[str, str]) -> Exception:
    """What to raise in place of `error`: MissingExtra, which begins with `needs`, if the package is
    one of `installed_by` and is really not there; else `error` itself.

    A package that is there but broken lacks a module of its own, or of another package. That is
    nobody's extra, and its traceback says more than we could.
    """
    package = (error.name or "").partition(".")[0]
    if package not in installed_by or _is_there(package):
        return error
    return MissingExtra(_said([package], needs, installed_by))


def require(packages: Iterable[str], needs: str, installed_by: Mapping[str, str]) -> None:
    """Raise MissingExtra, which begins with `needs`, if any of `packages` is not installed.

    For packages that this process must not load, or not yet.
    """
    absent = [package for package in packages if not _is_there(package)]
    if absent:
        raise MissingExtra(_said(absent, needs, installed_by))


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a finder that refuses it, as in a restricted environment
        return False


def _said(packages: list[str], needs: str, installed_by: Mapping[str, str]) -> str:
    commands = dict.fromkeys(installed_by[package] for package in packages)
    return f"{needs} more packages ({', '.join(packages)}): {' && '.join(commands)}"
