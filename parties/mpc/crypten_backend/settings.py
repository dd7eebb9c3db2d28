"""CrypTen's configuration as plain attributes, of the calling thread.

CrypTen looks every setting up through OmegaConf, which took 40 % of the time of a small network,
and has one configuration for all threads, which max, exp and others change for a while. Here each
thread starts with CrypTen's own defaults. What would open values, or put masks into the wrong hands
has one value only.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import yaml  # type: ignore[import-untyped]

from parties.mpc.crypten_backend.load import CrypTenConfig
from privedge.errors import NotAllowed

_FIXED: dict[str, Any] = {
    # Both open values that the program did not ask for.
    "debug.debug_mode": False,
    "debug.validation_mode": False,
    # Opens a check of the triples, and is no security against a party that deviates.
    "mpc.active_security": False,
    "mpc.provider": "DEALER",
    "mpc.protocol": "privedge",
}


class Section:
    """Settings below `path`, as attributes."""

    _path: str

    def __init__(self, path: str, values: dict[str, Any]) -> None:
        self.__dict__["_path"] = path
        for name, value in values.items():
            below = f"{path}{name}"
            inner = Section(f"{below}.", value) if isinstance(value, dict) else value
            self.__dict__[name] = _FIXED.get(below, inner)

    def __setattr__(self, name: str, value: Any) -> None:
        path = f"{self._path}{name}"
        if path in _FIXED and value != _FIXED[path]:
            raise NotAllowed(f"cfg.{path} is {_FIXED[path]!r} here and cannot be changed")
        self.__dict__[name] = value

    def _named(self, name: str) -> tuple["Section", str]:
        """The section that has the setting of that dotted name, and the name's last part."""
        *path, last = name.split(".")
        section = self
        for part in path:
            section = getattr(section, part)
        return section, last


@cache
def _defaults() -> str:
    with open(CrypTenConfig._CrypTenConfig__DEFAULT_CONFIG_PATH) as file:
        return file.read()


class _Own(threading.local):
    def __init__(self) -> None:
        self.root = Section("", yaml.safe_load(_defaults()))


_own = _Own()


def get(self: Any, name: str) -> Any:
    """`cfg.NAME` and `cfg["A.B"]`."""
    section, last = _own.root._named(name)
    return getattr(section, last)


def put(self: Any, name: str, value: Any) -> None:
    """`cfg.NAME = value` and `cfg["A.B"] = value`. Raises NotAllowed for what is fixed."""
    if name == "config":
        set_config(self, value)
        return
    section, last = _own.root._named(name)
    setattr(section, last, value)


def load_config(self: Any, config_file: str | None) -> None:
    """Read this thread's settings from a YAML file, or CrypTen's defaults."""
    if config_file is None:
        _own.root = Section("", yaml.safe_load(_defaults()))
        return
    with open(config_file) as file:
        _merge(_own.root, yaml.safe_load(file))


def set_config(self: Any, config: Any) -> None:
    """Replace this thread's settings by those that `cfg.config` was."""
    root = config.config if isinstance(config, CrypTenConfig) else config
    if not isinstance(root, Section):
        raise NotAllowed("cfg.config: only what cfg.config was before")
    _own.root = root


def _root(self: Any) -> Section:
    return _own.root


config = property(_root, set_config)


@contextmanager
def temp_override(self: Any, override_dict: dict[str, Any]) -> Iterator[None]:
    """Inside, this thread has these settings, by their dotted names."""
    before = {name: get(self, name) for name in override_dict}
    try:
        for name, value in override_dict.items():
            put(self, name, value)
        yield
    finally:
        for name, value in before.items():
            put(self, name, value)


def _merge(section: Section, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, dict):
            _merge(getattr(section, name), value)
        else:
            setattr(section, name, value)
