"""Names for what a user calls by any name at all: owners by their folders, a cohort by its folder.

Certificates, files and the wire accept few letters. Accents go, other letters become hyphens, and
two folders never get the same name. Public facts only.
"""

import re
import unicodedata
from collections.abc import Sequence

from privedge.errors import ConfigError
from privedge.identity.roles import NAME

_LONGEST = 64
_COHORT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
# Letters that Unicode does not take apart into a plain letter and an accent.
_LETTERS = str.maketrans(
    {
        **{"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "\u0131": "i"},
        **{"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"},
    }
)


def owner_names(folders: Sequence[str]) -> dict[str, str]:
    """An owner's name for each folder's name, all different, even where case does not count.

    A folder that is named like an owner already keeps its name. Of others that would get the same
    name, all but the first get a number.
    """
    named = {folder: folder for folder in folders if NAME.fullmatch(folder)}
    taken = {name.casefold() for name in named.values()}
    for folder in folders:
        if folder not in named:
            named[folder] = _free(_plain(folder) or "owner", taken)
            taken.add(named[folder].casefold())
    return {folder: named[folder] for folder in folders}


def cohort_name(folder: str) -> str:
    """The name of a cohort for a folder's name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", _plain(folder).lower())
    return name.strip("-_")[:_LONGEST] or "pictures"


def check_cohort(name: str) -> None:
    """Raise ConfigError unless parties accept `name` for a cohort."""
    if not _COHORT.fullmatch(name):
        raise ConfigError(
            f"cohort {name[:80]!r}: a name is 1 to {_LONGEST} lower-case letters, digits, hyphens "
            "or underscores, a letter or digit first"
        )


def _plain(text: str) -> str:
    """`text` in the letters that names are made of; maybe empty."""
    apart = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return re.sub(r"[^A-Za-z0-9._]+", "-", bare).strip("-._")[:_LONGEST]


def _free(name: str, taken: set[str]) -> str:
    tried, number = name, 1
    while tried.casefold() in taken:
        number += 1
        ending = f"-{number}"
        tried = name[: _LONGEST - len(ending)] + ending
    return tried
