"""Write the generated pages of docs/ from the code they describe. Sees no secrets.

    python tools/reference.py            write the pages
    python tools/reference.py --check    exit with 1 if a page is out of step, and name it

    docs/reference/cli.md       the commands of `privedge`, product and laboratory
    docs/reference/config.md    the keys of every configuration file, from the pydantic fields
    docs/reference/errors.md    the tree of errors, and the table of gRPC statuses
    docs/reference/api.md       the public Python names, `privedge.__all__`
    docs/reference/ran-spec.schema.json, model-spec.schema.json
                                the JSON schemas of architectures
    docs/adr/index.md           the list of decisions, from their headings
    clients/node/src/generated/refusals.ts
                                the same table of statuses for the client in TypeScript

One module of tools/pages makes each of them; this one writes and compares.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "lab"), str(ROOT / "tools")]

from pages import api, cli, config, decisions, errors, node, ran_spec  # noqa: E402 - after the path is set

PAGES: Mapping[str, Callable[[], str]] = {
    "docs/reference/cli.md": cli.page,
    "docs/reference/config.md": config.page,
    "docs/reference/errors.md": errors.page,
    "docs/reference/api.md": api.page,
    "docs/reference/ran-spec.schema.json": ran_spec.schema,
    "docs/reference/model-spec.schema.json": ran_spec.of_models,
    "clients/node/src/generated/refusals.ts": node.module,
    "docs/adr/index.md": lambda: decisions.page(ROOT / "docs" / "adr"),
}


def main() -> int:
    """Write or compare every page. Returns the exit status."""
    stale = []
    for name, page in PAGES.items():
        path, text = ROOT / name, page()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
    if "--check" not in sys.argv[1:]:
        sys.stdout.write("".join(f"wrote {name}\n" for name in stale))
        return 0
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: out of step with the code: run make docs\n")
        return 1
    sys.stdout.write("the generated pages are in step with the code\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
