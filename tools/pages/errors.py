"""docs/reference/errors.md: the tree of errors, and how each crosses the wire."""

import inspect
from collections.abc import Iterator

from pages import markdown as md
from privedge import errors
from privedge.rpc import status
from privedge.rpc.retry import Again, again

_AGAIN = {
    Again.NEVER: "no",
    Again.PLACE: "yes, `retries` times, after the pause that the server asks for or longer",
    Again.STARTED: "yes, as long as `rpc_timeout_s` lets it, after the same pauses",
    Again.LOST: "yes, twice, or as long as `rpc_timeout_s` lets it if both have answered before",
    Again.CHANGED: "a query, twice, from `DescribeCohort` on",
}


def page() -> str:
    """The whole page."""
    return md.page(
        md.generated("Errors", "privedge/errors.py and privedge/rpc/status.py"),
        md.paragraph(
            "Every error that privedge raises on purpose is one of these. Its message is one line: "
            "what is wrong, and what to do. It names files, fields, ids and shapes, and never a "
            "value, a share or a mask. The command line prints it and exits with 1."
        ),
        "## The tree",
        "\n".join(_tree(errors.PrivEdgeError, 0)),
        "## gRPC status codes",
        md.paragraph(
            "A server answers with a code and a fixed text, so nothing secret can ride on an "
            "error. A caller looks the pair up and raises the same kind of error, with the advice "
            "behind it. [Monitor](../how-to/monitor.md#what-a-status-means) says what each status "
            "means to an operator."
        ),
        md.table(("status", "text", "error", "what to do"), _statuses()),
        md.paragraph(
            "INTERNAL carries an id in the trailing metadata `"
            f"{status.ERROR_ID}`. The server's log has the same id beside the place of the fault."
        ),
        md.paragraph(
            f"A refusal as `Busy` carries in `{status.RETRY_AFTER}` the milliseconds after "
            "which to come again ([the wire](wire.md#busy-servers))."
        ),
        "## What is made again",
        md.paragraph(
            "After these statuses our clients make a call again by themselves, after growing "
            "pauses. A query gets a fresh id and fresh shares each time. An upload is never "
            "repeated. After any other status the call ends with its error: repeating it would "
            "end the same way. [The wire](wire.md#what-may-be-repeated) says what a client of "
            "your own may repeat."
        ),
        md.table(("status", "text", "error", "made again"), _repeated()),
        "## What gRPC itself says",
        md.paragraph(
            "Some statuses come from gRPC and not from a server of ours, with texts of its own. A "
            "caller maps the code alone:"
        ),
        md.table(("status", "error", "said as", "what to do"), _from_grpc()),
    )


def _tree(kind: type[Exception], depth: int) -> Iterator[str]:
    said = " ".join((inspect.getdoc(kind) or "").split())
    indent = "  " * depth
    yield md.paragraph(f"**`{kind.__name__}`**: {said}", first=f"{indent}- ", rest=f"{indent}  ")
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below, depth + 1)


def _statuses() -> Iterator[tuple[str, str, str, str]]:
    for kind, (code, text) in status.STATUS.items():
        own = kind is not Exception
        advice = status._ADVICE[kind] if own else "give the id to the operator"
        name = f"`{kind.__name__}`" if own else "`Refused`, for whatever nobody meant to raise"
        yield code.name, text, name, advice


def _repeated() -> Iterator[tuple[str, str, str, str]]:
    for kind, (code, text) in status.STATUS.items():
        if again(kind) is not Again.NEVER:
            yield code.name, text, f"`{kind.__name__}`", _AGAIN[again(kind)]
    for code, (kind, _, _) in status._FROM_GRPC.items():
        if again(kind) is not Again.NEVER:
            yield code.name, "any of gRPC's own", f"`{kind.__name__}`", _AGAIN[again(kind)]


def _from_grpc() -> Iterator[tuple[str, str, str, str]]:
    for code, (kind, text, advice) in status._FROM_GRPC.items():
        yield code.name, f"`{kind.__name__}`", text, advice
