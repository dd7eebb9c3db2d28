"""How rows are read and written, by the types of their fields.

A class says which keys its rows have on disk, in the order in which they are stored. Reading never
fails: a file may be of an older version, or from anybody.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

from privedge_lab.results.rows import values
from privedge_lab.results.rows.values import Raw

_STORED = "stored"
_Reader = Callable[[object], Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A JSON object inside a row.

    A field without a default is always stored, as null if need be; the key of one that equals its
    default is left out.
    """

    @classmethod
    def read(cls, raw: object) -> Self:
        """What `raw` holds of it; None for what is missing or cannot be a measurement."""
        given = raw if isinstance(raw, dict) else {}
        return cls(**{name: read(given.get(name)) for name, read in _readers(cls).items()})

    def to_json(self) -> Raw:
        """The JSON object that is stored."""
        found = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != _STORED and value != _default(each):
                found[each.name] = _written(value)
        return found


@dataclass(frozen=True, kw_only=True)
class Row(Part):
    """One measurement. `stored`: the JSON object that it was read from, as evidence."""

    stored: Raw | None = field(default=None, compare=False, repr=False)

    @classmethod
    def read(cls, raw: object) -> Self:
        """What `raw` holds of it, and `raw` itself."""
        given = raw if isinstance(raw, dict) else {}
        read = {name: reader(given.get(name)) for name, reader in _readers(cls).items()}
        return cls(**read, stored=given)

    @classmethod
    def names(cls) -> list[str]:
        """Of its fields, as they are stored."""
        return list(_readers(cls))

    def as_stored(self) -> Raw:
        """What it was read from; of a new row, what will be stored."""
        return self.to_json() if self.stored is None else self.stored

    def named_values(self) -> dict[str, values.Value]:
        """Each value that is no list or object, under its own name, those of no field too."""
        return {
            name: values.number_or_text(value)
            for name, value in self.as_stored().items()
            if not isinstance(value, dict | list)
        }


R = TypeVar("R", bound=Row)


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


def _written(value: Any) -> Any:
    if isinstance(value, Part):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: _written(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return [_written(each) for each in value]
    return value


_READERS: dict[Any, _Reader] = {
    values.Figure: values.number,
    values.Text: values.text,
    values.Flag: values.flag,
    values.Value: values.number_or_text,
    int | None: values.whole,
    values.Confusion | None: values.confusion,
}
_KNOWN: dict[type[Part], dict[str, _Reader]] = {}


def _readers(kind: type[Part]) -> dict[str, _Reader]:
    """One for each field, made once."""
    if kind not in _KNOWN:
        hints = get_type_hints(kind)
        names = [each.name for each in fields(kind) if each.name != _STORED]
        _KNOWN[kind] = {name: _reader(hints[name]) for name in names}
    return _KNOWN[kind]


def _reader(hint: Any) -> _Reader:
    """For one of _READERS, `tuple[T, ...]`, `Mapping[str, T]` or `P | None` with a Part P."""
    if hint in _READERS:
        return _READERS[hint]
    inner = get_args(hint)
    if get_origin(hint) is tuple:
        return _listed(inner[0])
    if get_origin(hint) is Mapping:
        return _mapped(inner[1])
    part: type[Part] = inner[0]
    return lambda value: part.read(value) if isinstance(value, dict) else None


def _listed(hint: Any) -> _Reader:
    """All values of a list; of parts those that are JSON objects."""
    one = _one(hint)

    def read(value: object) -> tuple[Any, ...]:
        given = value if isinstance(value, list) else []
        return tuple(one(each) for each in given if hint in _READERS or isinstance(each, dict))

    return read


def _mapped(hint: Any) -> _Reader:
    one = _one(hint)
    return lambda value: (
        {name: one(each) for name, each in value.items()} if isinstance(value, dict) else {}
    )


def _one(hint: Any) -> _Reader:
    """For a part, or one of _READERS."""
    if hint in _READERS:
        return _READERS[hint]
    part: type[Part] = hint
    return part.read
