"""Write a demo's results: summary.json and index.html. Sees the outcome in the clear."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from privedge.errors import ConfigError
from privedge_lab import outputs
from privedge_lab.demo import page, report
from privedge_lab.demo.run import Outcome

_PAGE, _SUMMARY = "index.html", "summary.json"


def prepare(out: Path) -> None:
    """Make the folder before the work begins.

    Raises ConfigError, also if there is a page or summary in it that is none of privedge.
    """
    with _named(out):
        out.mkdir(parents=True, exist_ok=True)
        outputs.require_replaceable(out / _PAGE, outputs.PAGE)
        outputs.require_replaceable(out / _SUMMARY, outputs.SUMMARY)


def write(outcome: Outcome) -> Path:
    """Replace both files in the plan's folder; return the page's path. Raises ConfigError."""
    out = outcome.plan.out
    html = page.render(outcome)
    with _named(out):
        (out / _PAGE).write_bytes(html)
        summary = json.dumps(asdict(report.summary(outcome)), indent=2)
        (out / _SUMMARY).write_text(summary + "\n", encoding="utf-8")
    return out / _PAGE


@contextmanager
def _named(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from None
