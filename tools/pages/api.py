"""docs/reference/api.md: signature and docstring of every name in `privedge.__all__`."""

import dataclasses
import inspect
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import privedge
from pages import markdown as md

_ONE_LINE = 96
# How our docstrings begin their parts.
_PARTS = ("Args", "Returns", "Raises", "Example", "Examples", "Attributes", "Yields")
_LISTED = ("Args", "Raises", "Attributes")
# Shown by name in signatures; the page says what they stand for.
_ALIASES = ("Pictures", "Source", "StrPath")


def page() -> str:
    """The whole page."""
    return md.page(
        md.generated("Python API", "the names in `privedge.__all__`"),
        md.paragraph(
            "All of it is imported from `privedge`. [Using the Python library](python.md) has what "
            "is common to all: order of imports, forms of pictures, threads, errors."
        ),
        md.paragraph(
            "In signatures, `StrPath` is `str` or `os.PathLike[str]`, and `Source` is any of the "
            "[forms of pictures and vectors](python.md#pictures)."
        ),
        *(
            block
            for name in getattr(privedge, "__all__", ("__version__",))
            for block in _name(name)
        ),
    )


def _name(name: str) -> Iterator[str]:
    thing = getattr(privedge, name)
    yield f"## {name}"
    if isinstance(thing, types.ModuleType):
        yield md.paragraph(
            f"The module `{thing.__name__}`: {_first(thing)} See [errors](errors.md)."
        )
    elif inspect.isclass(thing):
        yield from _class(name, thing)
    elif callable(thing):
        yield md.code(_signature(name, thing), "python")
        yield from _docstring(thing)
    else:
        yield from _value(thing)


def _value(thing: object) -> Iterator[str]:
    if isinstance(thing, tuple):
        yield md.paragraph(", ".join(f"`{entry!r}`" for entry in thing))
    else:
        yield md.paragraph(f"A `{type(thing).__name__}`: the version of what is installed.")


def _class(name: str, kind: type) -> Iterator[str]:
    fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    models = getattr(kind, "model_fields", None)
    if models is None:
        yield md.code(_signature(name, kind), "python")
    yield from _docstring(kind)
    if fields:
        rows = [(f"`{field.name}`", f"`{_plain(field.type)}`") for field in fields]
        yield md.table(("field", "type"), rows)
    elif models is not None:
        yield md.paragraph("Its fields are the keys of the [configuration](config.md) file.")
    else:
        yield from _docstring(kind.__init__)
    for method, raw in vars(kind).items():
        if method.startswith("_") or not isinstance(raw, _METHODS):
            continue
        yield f"### {name}.{method}"
        if isinstance(raw, property):
            yield from _docstring(raw)
            continue
        called = getattr(kind, method)
        yield md.code(_signature(f"{name}.{method}", called), "python")
        yield from _docstring(called)


_METHODS = (types.FunctionType, staticmethod, classmethod, property)


def _signature(name: str, thing: Any) -> str:
    """One line, or one line a parameter where it would be too long."""
    signature, aliases = inspect.signature(thing), _aliases(thing)
    parts = list(_parameters(signature, aliases))
    made = signature.return_annotation
    unsaid = inspect.isclass(thing) or made is signature.empty
    returned = "" if unsaid else f" -> {_short(made, aliases)}"
    line = f"{name}({', '.join(parts)}){returned}"
    if len(line) <= _ONE_LINE:
        return line
    inside = ",\n    ".join(parts)
    return f"{name}(\n    {inside},\n){returned}"


def _aliases(thing: Any) -> list[tuple[str, str]]:
    """(name, what it stands for) of the aliases that the module of `thing` uses, longest first."""
    names = getattr(thing.__init__ if inspect.isclass(thing) else thing, "__globals__", {})
    found = [(name, _plain(names[name])) for name in _ALIASES if name in names]
    return sorted(found, key=lambda alias: -len(alias[1]))


def _parameters(signature: inspect.Signature, aliases: list[tuple[str, str]]) -> Iterator[str]:
    """Each parameter but self, and the star before those that need their name."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    named = False
    for part in signature.parameters.values():
        if part.name == "self":
            continue
        if part.kind is part.KEYWORD_ONLY and not named:
            named = True
            yield "*"
        text = f"{stars.get(part.kind, '')}{part.name}"
        if part.annotation is not part.empty:
            text += f": {_short(part.annotation, aliases)}"
        if isinstance(part.default, str):
            text += f' = "{part.default}"'
        elif part.default is not part.empty:
            plain = part.default is None or isinstance(part.default, int | float | bool)
            text += f" = {part.default!r}" if plain else " = ..."
        yield text


def _short(kind: object, aliases: list[tuple[str, str]]) -> str:
    """An annotation without the modules that its names come from; aliases by their names."""
    text = _plain(kind)
    for alias, whole in aliases:
        text = text.replace(whole, alias)
    return text


def _plain(kind: object) -> str:
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    text = re.sub(r"(?<![\w\"'])(?:\w+\.)+(\w+)", r"\1", text)
    text = re.sub(r"ndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]", r"NDArray[\1]", text)
    return text.replace("NoneType", "None").replace('"', "").replace("'", "")


def _first(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def _docstring(thing: object) -> Iterator[str]:
    """A docstring as blocks of Markdown. Of a class without one of its own: nothing."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    if not text or text == inspect.cleandoc(object.__init__.__doc__ or ""):
        return
    if dataclasses.is_dataclass(thing) and text.startswith(f"{getattr(thing, '__name__', '')}("):
        return
    part, lines = "", list[str]()
    for line in [*text.splitlines(), "End:"]:
        title = line.removesuffix(":")
        if line.endswith(":") and title in (*_PARTS, "End"):
            yield from _part(part, "\n".join(lines))
            part, lines = title, []
        else:
            lines.append(line)


def _part(title: str, text: str) -> Iterator[str]:
    body = textwrap.dedent(text).strip("\n")
    if not body.strip():
        return
    if title:
        yield f"**{title}**"
    if title.startswith("Example"):
        yield md.code(body, "python")
    elif title in _LISTED:
        entries = re.split(r"\n(?=\S)", body)
        yield "\n".join(md.item(_entry(entry)) for entry in entries)
    else:
        yield from _prose(body)


def _entry(entry: str) -> str:
    name, colon, said = entry.partition(":")
    return f"`{name}`: {said}" if colon and " " not in name.replace(", ", ",") else entry


def _prose(body: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", body):
        if block.startswith("    "):
            yield md.code(textwrap.dedent(block), "python")
        else:
            yield md.paragraph(" ".join(block.split()))
