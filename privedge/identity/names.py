"""Make valid names of owners and cohorts from the names of folders.

Certificates, files and the wire accept few letters. Accents are dropped, other letters become
hyphens, and two folders never get the same name. Public facts only.
"""

import re
import unicodedata
from collections.abc import Sequence

from privedge.errors import ConfigError
from privedge.identity.roles import COHORT_NAME, NAME

_LONGEST = 64
# Letters that Unicode does not decompose into a plain letter and an accent.
_LETTERS = str.maketrans(
    {
        **{"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "\u0131": "i"},
        **{"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"},
    }
)


def owner_names(folders: Sequence[str]) -> dict[str, str]:
    """Return an owner's name for each folder's name. All differ, also if case is ignored.

    A folder whose name is valid already keeps it. If several other folders would get the same name,
    all but the first get a number.
    """
    named = {folder: folder for folder in folders if NAME.fullmatch(folder)}
    taken = {name.casefold() for name in named.values()}
    for folder in folders:
        if folder not in named:
            named[folder] = _free(_plain(folder) or "owner", taken)
            taken.add(named[folder].casefold())
    return {folder: named[folder] for folder in folders}


def cohort_name(folder: str) -> str:
    """Return the name of a cohort for a folder's name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", _plain(folder).lower())
    return name.strip("-_")[:_LONGEST] or "pictures"


def check_cohort(name: str) -> None:
    """Raise ConfigError unless `name` is valid for a cohort."""
    if not re.fullmatch(COHORT_NAME, name):
        raise ConfigError(
            f"cohort {name[:80]!r}: a name is 1 to {_LONGEST} lower-case letters, digits, hyphens "
            "or underscores, a letter or digit first"
        )


def _plain(text: str) -> str:
    """Return `text` with only the letters that names accept; it may be empty."""
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
