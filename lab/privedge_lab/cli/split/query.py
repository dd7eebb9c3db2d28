"""`privedge split query`: ask the split server what images show."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption

if TYPE_CHECKING:
    from privedge_lab.baseline.client import SplitReply

_ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", metavar="FILE", help="Where the server is, and your head and key (TOML)."
    ),
]


def register(group: typer.Typer) -> None:
    """Add `split query`."""
    group.command("query")(_query)


def _query(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="PNG or JPEG files; one batch.")
    ],
    config: _ConfigOption = Path("split-client.toml"),
    as_json: JsonOption = False,
) -> None:
    """Ask the split server what images show.

    NOT private: the first layers run here, but the server sees what they put out, and can make
    images of it unless the defence prevents that. `privedge query` is the private way.

    \b
    Example:
      privedge split query digit.png other.png --config split-client.toml
    """
    from privedge_lab.baseline.client import SplitClient

    with SplitClient.from_file(config) as client:
        reply = client.ask(images)
    if as_json:
        print(json.dumps({"answers": list(reply.labels), **costs(reply)}))
        return
    for name, label in zip(images, reply.labels, strict=True):
        print(f"{name}: {label}")


def costs(reply: "SplitReply") -> dict[str, object]:
    """As `privedge query --json` has it, with the one server in place of the parties."""
    return {
        "seconds": reply.seconds,
        "device_s": reply.device_s,
        "bytes_sent": reply.bytes_sent,
        "bytes_received": reply.bytes_received,
        "parties": [asdict(reply.cost)],
    }
