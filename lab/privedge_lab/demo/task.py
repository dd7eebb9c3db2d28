"""What a demo is about: whose pictures are learnt, which are asked, and what the page calls them.

Sees everybody's pictures, as the demo plays all roles. Pictures are uint8 (H, W) or (H, W, 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from privedge.arrays import Pixels
from privedge.errors import ConfigError
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec


@dataclass(frozen=True)
class Words:
    """What the page and the table say of this task.

    question: what the client wants to know; the page's heading.
    things: what is asked about, such as "digits".
    learnt: what each owner has trained on; ends a sentence.
    how: what a model does with it, as whole sentences.
    strangers: who the strangers are; begins a sentence.
    source: whose pictures they are; ends a sentence.
    option: how the command is called for it.
    """

    question: str
    things: str
    learnt: str
    how: str
    strangers: str
    source: str
    option: str = ""


@dataclass(frozen=True)
class Task:
    """One cohort with its pictures.

    learnt: the pictures of each owner, by name, in the order of training.
    asked, truths: pictures and the names of their owners.
    strangers: pictures of nobody who is an owner.
    margin, rivals: the cohort's rule for "unknown"; rivals is a file, or None.
    public: the public files that the spec names.
    """

    cohort: str
    spec: RanSpec
    words: Words
    learnt: Mapping[str, Sequence[Pixels]] = field(repr=False)
    asked: Sequence[Pixels] = field(repr=False)
    truths: Sequence[str]
    strangers: Sequence[Pixels] = field(repr=False)
    margin: float
    rivals: Path | None = None
    public: PublicFiles = NO_FILES


def require_so_many(queries: int, there: int) -> None:
    """Raise ConfigError if more is to be asked than there is."""
    if queries > there:
        raise ConfigError(f"queries: there are only {there} test images")
