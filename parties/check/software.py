"""Whether the installed packages are those that this release was made for."""

import importlib.metadata
from collections.abc import Iterator

from packaging.requirements import Requirement

from privedge import extras
from privedge.config import TracesSection
from privedge.errors import MissingExtra
from privedge.findings import Finding, hint

_SERVERS = "privedge-parties"


def check_packages(*, computes: bool) -> Iterator[Finding]:
    """Each package that is missing or of another version. `computes`: a party, which needs more."""
    try:
        needed = importlib.metadata.requires(_SERVERS) or []
    except importlib.metadata.PackageNotFoundError:
        yield hint("packages", f"{_SERVERS} is not installed, so no version can be compared")
        return
    for line in [*needed, *[extras.CRYPTEN] * computes]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from _check(requirement)


def check_traces(settings: TracesSection) -> Iterator[Finding]:
    """Whether the packages are here that a server needs to send traces, if it is to."""
    if settings.endpoint is None:
        return
    try:
        extras.require(("opentelemetry",), "[traces] needs", extras.FOR_TRACES)
    except MissingExtra as error:
        yield Finding("packages", str(error))


def _check(needed: Requirement) -> Iterator[Finding]:
    cure = f"pip install {'--no-deps ' * (needed.name == 'crypten')}'{needed}'"
    try:
        version = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", f"{needed.name} is missing: {cure}")
        return
    if not needed.specifier.contains(version, prereleases=True):
        yield Finding("packages", f"{needed.name} {version} is installed: {cure}")
