"""Write a demo's results: summary.json and index.html. Sees the outcome in the clear."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from privedge.errors import ConfigError
from privedge_lab.demo import page, report
from privedge_lab.demo.run import Outcome


def prepare(out: Path) -> None:
    """Make the folder before the work begins. Raises ConfigError."""
    with _named(out):
        out.mkdir(parents=True, exist_ok=True)


def write(outcome: Outcome) -> Path:
    """Replace both files in the plan's folder; return the page's path. Raises ConfigError."""
    out = outcome.plan.out
    html = page.render(outcome)
    with _named(out):
        (out / "index.html").write_bytes(html)
        summary = json.dumps(asdict(report.summary(outcome)), indent=2)
        (out / "summary.json").write_text(summary + "\n", encoding="utf-8")
    return out / "index.html"


@contextmanager
def _named(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror})") from None
