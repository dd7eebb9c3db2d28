"""Write requirements.lock from the report of a clean `pip install --dry-run`. Sees no secrets.

    pip install --dry-run --report REPORT '.[...]'
    python tools/lock.py crypten==0.4.1 < REPORT > requirements.lock

Arguments are pins added by hand: packages whose metadata no resolver accepts (docs/adr/0002). The
file holds only names and versions, without addresses, paths and build labels. So the same line
finds torch's CPU build on one machine and its accelerator build on another (docs/adr/0003).
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

HEADER = """\
# Every package of a development checkout, at one version. Written by `make lock`; do not edit.
# Installed by the Makefile: torch first (with what its build needs), then the rest with --no-deps.
# Why versions and not hashes: docs/adr/0003-lock-file.md
"""
# An accelerator build of torch needs these at exact versions. They are installed with torch, so the
# lock leaves them out.
WITH_TORCH = ("nvidia-", "cuda-", "triton")


def pins(report: dict[str, Any]) -> Iterator[str]:
    """Yield "name==version" for each package of the report except the project itself."""
    for item in report["install"]:
        name, version = item["metadata"]["name"], item["metadata"]["version"]
        is_project = "dir_info" in item["download_info"]
        if not is_project and not name.startswith(WITH_TORCH):
            yield f"{name}=={version.partition('+')[0]}"


def main() -> None:
    """Read the report on standard input, write the lock on standard output."""
    lines = [*pins(json.load(sys.stdin)), *sys.argv[1:]]
    lines.sort(key=lambda line: line.partition("==")[0].lower())
    sys.stdout.write(HEADER + "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
