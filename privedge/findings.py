"""What a check has found, a line for each: for people, and as JSON for machines."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, in words that say what to do.

    about: what it concerns, such as "tls" or "state"; one word for machines.
    is_fault: whether it makes the check fail. If not, it is a hint.
    """

    about: str
    text: str
    is_fault: bool = True

    @property
    def line(self) -> str:
        """Both in one line; `about` is not said twice."""
        text = " ".join(self.text.split())
        return text if text.startswith(f"{self.about}: ") else f"{self.about}: {text}"


def hint(about: str, text: str) -> Finding:
    """Something to know, with which nothing fails."""
    return Finding(about, text, is_fault=False)


def report(found: Iterable[Finding], facts: Mapping[str, object], *, as_json: bool) -> int:
    """Print what was found, and return the exit status: 1 if there is a fault.

    Faults go to standard output as they are found, and hints to standard error. Without a fault, a
    line says so. As JSON it is one object: `facts`, and the lists `faults` and `hints`.
    """
    kept = []
    for each in found:
        kept.append(each)
        if not as_json:
            out = sys.stdout if each.is_fault else sys.stderr
            out.write(f"{each.line}\n" if each.is_fault else f"hint: {each.line}\n")
            out.flush()
    faults = [each for each in kept if each.is_fault]
    if as_json:
        lists = {"faults": faults, "hints": [each for each in kept if not each.is_fault]}
        rows = {
            name: [{"about": each.about, "line": each.line} for each in every]
            for name, every in lists.items()
        }
        sys.stdout.write(f"{json.dumps({**facts, **rows})}\n")
    elif not faults:
        sys.stdout.write(f"{' '.join(map(str, facts.values()))}: no fault found\n")
    return 1 if faults else 0
