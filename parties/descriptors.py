"""Let this process open as many files as the system allows: every connection holds one."""

import resource
from contextlib import suppress

_ENOUGH = 65_536


def allowed() -> int:
    """How many files a server may open here, once it has raised its own limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)


def allow_many_connections() -> None:
    """Raise this process's own limit, which is often 1,024, towards that of the system."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = allowed()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # some systems have a lower limit than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
