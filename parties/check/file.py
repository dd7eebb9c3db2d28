"""Whose file it is: a party's or the dealer's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from privedge.config import load, read_toml
from privedge.errors import ConfigError


def read(path: Path) -> PartyConfig | DealerConfig:
    """Read a server's file. Raises ConfigError, also if it could be neither's or both's."""
    fields = read_toml(path)
    if "party0" in fields or "party1" in fields:
        raise ConfigError(f"{path}: is a client's file; check it with `privedge doctor --config`")
    party = _only(fields, PartyConfig, DealerConfig)
    dealer = _only(fields, DealerConfig, PartyConfig)
    if party and dealer:
        raise ConfigError(
            f"{path}: has keys of a party ({min(party)}) and of the dealer ({min(dealer)}); give "
            "each server a file of its own"
        )
    if party:
        return load(PartyConfig, path)
    if dealer or "listen" in fields:
        return load(DealerConfig, path)
    raise ConfigError(f"{path}: is neither a party's file (`index`) nor the dealer's (`listen`)")


def _only(fields: Mapping[str, Any], one: type[BaseModel], other: type[BaseModel]) -> set[str]:
    """Those of the keys, "TABLE.KEY" in tables, that `one` has and `other` has not."""
    return {key for key in _keys(fields) if _has(one, key) and not _has(other, key)}


def _keys(fields: Mapping[str, Any]) -> set[str]:
    tables = {name: table for name, table in fields.items() if isinstance(table, dict)}
    return {*fields, *(f"{name}.{key}" for name, table in tables.items() for key in table)}


def _has(kind: type[BaseModel], key: str) -> bool:
    name, _, inner = key.partition(".")
    field = kind.model_fields.get(name)
    if field is None or not inner:
        return field is not None
    table = field.annotation
    return isinstance(table, type) and issubclass(table, BaseModel) and inner in table.model_fields
