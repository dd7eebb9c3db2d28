"""clients/node/src/generated/refusals.ts: the table of refusals for the client in TypeScript."""

import json

from privedge.errors import PrivEdgeError
from privedge.rpc import status
from privedge.rpc.retry import again

_HEAD = """// Written by tools/reference.py from the tables in privedge/rpc; do not edit.

/** For how long a refused call is made again. */
export type Again = "never" | "place" | "started" | "lost" | "changed";

export interface Refusal {
  readonly status: string;
  readonly text: string;
  readonly code: string;
  readonly advice: string;
  readonly again: Again;
}
"""


def module() -> str:
    """The whole module."""
    ours = [
        (code.name, text, kind, status._ADVICE[kind])
        for kind, (code, text) in status.STATUS.items()
        if issubclass(kind, PrivEdgeError)
    ]
    from_grpc = [
        (code.name, text, kind, advice) for code, (kind, text, advice) in status._FROM_GRPC.items()
    ]
    return "\n".join(
        (
            _HEAD,
            "/** What servers of ours say: status and text together name the refusal. */",
            _table("REFUSALS", ours),
            "",
            "/** What gRPC itself says: the status alone counts. */",
            _table("FROM_GRPC", from_grpc),
            "",
        )
    )


def _table(name: str, rows: list[tuple[str, str, type[Exception], str]]) -> str:
    lines = [
        json.dumps(
            {
                "status": code,
                "text": text,
                "code": kind.__name__,
                "advice": advice,
                "again": again(kind).value,
            }
        )
        for code, text, kind, advice in rows
    ]
    return f"export const {name}: readonly Refusal[] = [\n  " + ",\n  ".join(lines) + ",\n];"
