"""docs/reference/config.md: every key of every configuration file, from the pydantic fields."""

import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pages import markdown as md
from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from privedge.config import ClientConfig, TlsFiles
from privedge_lab.baseline.config import SplitClientConfig
from privedge_lab.baseline.serving.config import SplitConfig

_FILES: tuple[tuple[str, type[BaseModel]], ...] = (
    ("Owner, client, admin", ClientConfig),
    ("Party", PartyConfig),
    ("Dealer", DealerConfig),
    ("Split server", SplitConfig),
    ("Device of the split server", SplitClientConfig),
)
_PLAIN = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path"}
_TITLES = ("key", "type", "default", "meaning")


def page() -> str:
    """The whole page."""
    parts = [block for title, model in _FILES for block in _file(title, model)]
    return md.page(
        md.generated("Configuration", "the fields of the configuration models"),
        md.paragraph(
            "Every process reads one TOML file, once, when it starts. A relative path in it starts "
            "at the file's own folder; `~` is the home folder. A key that is not listed here is "
            "refused, and the message names it. No value is a secret: keys are named by file."
        ),
        md.paragraph(
            "`parties/samples/` has one file of each kind, and "
            "`lab/privedge_lab/baseline/samples/` those of the split server and its devices."
        ),
        "## `[tls]`",
        md.paragraph(
            f"{_said(TlsFiles)} Every file below may have this table, and needs it unless "
            "`insecure_loopback` is true."
        ),
        _keys(TlsFiles),
        *_tables(TlsFiles, "tls."),
        *parts,
    )


def _file(title: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"## {title}"
    yield _said(model)
    yield _keys(model)
    yield from _tables(model, "")


def _tables(model: type[BaseModel], path: str) -> Iterator[str]:
    """A part for each table below `model`, in the order of the file."""
    for name, field in model.model_fields.items():
        below, many = _section(field.annotation)
        if below is None or below is TlsFiles:
            continue
        inner = f"{path}{name}"
        yield f"### `[[{inner}]]`" if many else f"### `[{inner}]`"
        needed = "Needed." if field.is_required() else "May be left out."
        said = [_said(below), field.description or "", needed]
        yield md.paragraph(" ".join(filter(None, said)))
        yield _keys(below)
        yield from _tables(below, f"{inner}.")


def _said(model: type[BaseModel]) -> str:
    """Return a docstring up to its first part: the table has the attributes already."""
    text = re.split(r"^ *(?:Attributes|Example):$", model.__doc__ or "", flags=re.MULTILINE)[0]
    return md.paragraph(" ".join(text.split()))


def _keys(model: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _type(field), _default(field), _linked(field.description or ""))
        for name, field in model.model_fields.items()
        if _section(field.annotation)[0] is None
    ]
    return md.table(_TITLES, rows) if rows else ""


def _linked(text: str) -> str:
    """Paths of pages as links."""
    return re.sub(r"docs/([\w/-]+/([\w-]+)\.md)", r"[\2](../\1)", text)


def _section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The table that an annotation stands for, and whether there may be many."""
    for kind in (annotation, *typing.get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind, typing.get_origin(annotation) is tuple
    return None, False


def _type(field: FieldInfo) -> str:
    limits = [limit for rule in field.metadata for limit in _limits(rule)]
    return ", ".join([_kind(field.annotation, field.metadata), *limits])


def _kind(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in arguments if kind is not types.NoneType]
        return " or ".join(_kind(kind, metadata) for kind in kinds)
    if origin is tuple:
        return f"list of {_kind(arguments[0], [])}s"
    if origin is typing.Annotated:
        return _kind(arguments[0], list(arguments[1:]))
    if annotation is str and any(type(rule).__name__ == "AfterValidator" for rule in metadata):
        return "HOST:PORT"
    return _PLAIN[annotation]


def _limits(rule: Any) -> Iterator[str]:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for name, word in words.items():
        if isinstance(rule, getattr(annotated_types, name.capitalize())):
            yield f"{word} {getattr(rule, name):,}"
    if getattr(rule, "pattern", None):
        yield f"like `{rule.pattern}`"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.get_default()
    if value is None or value is PydanticUndefined:
        return "none"
    return f"`{json.dumps(value)}`"
