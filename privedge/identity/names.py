"""Make valid names of owners and cohorts from the names of folders.

Certificates, files and the wire accept few letters. Accents are dropped, other letters become
hyphens, and two folders with the same name are refused. Public facts only.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

from privedge.errors import ConfigError
from privedge.identity.roles import COHORT_NAME, NAME, OWNER_NAME

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

    Raises ConfigError, which names both, if two folders would get the same name, or names that
    differ in case only: on many systems their files would be one. A number would tell them apart,
    but after a change of folders it could mean another person. Raises it too for a folder whose
    owner would have the name that is the answer for strangers.
    """
    named: dict[str, str] = {}
    taken: dict[str, str] = {}
    for folder in folders:
        name = owner_name(folder)
        if not OWNER_NAME.fullmatch(name):
            raise ConfigError(
                f"folder or label {folder!r}: no owner can be called {name}, which is the answer "
                "for strangers; rename it, or take it away if it holds strangers"
            )
        other = taken.setdefault(name.casefold(), folder)
        if other != folder:
            only = ", as upper and lower case do not count" if name != named[other] else ""
            raise ConfigError(
                f"folders or labels {other!r} and {folder!r}: both would be the owner "
                f"{name.lower() if only else name}{only}; rename one"
            )
        named[folder] = name
    return named


def mapped(named: Mapping[str, str]) -> str:
    """Say which folders or labels are called otherwise as owners; "" if none is."""
    others = ", ".join(f"{each!r} is {name}" for each, name in named.items() if each != name)
    return f"owners' names have letters, digits, . _ - only: {others}" if others else ""


def owner_name(folder: str) -> str:
    """Return the owner's name for one folder: a valid name as it is, `Ana María` as `ana-maria`.

    A name without any plain letter gets one that is made from a digest of it, so that it stays the
    same whatever other folders there are.
    """
    if NAME.fullmatch(folder):
        return folder
    plain = _plain(folder).lower()
    if plain:
        return plain
    composed = unicodedata.normalize("NFC", folder)  # macOS writes letters and accents apart
    return f"owner-{hashlib.sha256(composed.encode(errors='surrogateescape')).hexdigest()[:8]}"


def cohort_name(folder: str) -> str:
    """Return the name of a cohort for the name of a folder or npz."""
    folder = folder.removesuffix(".npz")
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
