"""How Sphinx makes a site of these pages: `make docs`, into build/docs. Needs no network.

The index page is the table of contents: the links below each of its headings become one part of
the sidebar, so there is no second list to keep.
"""

import re

from sphinx.application import Sphinx

import privedge

project = "privedge"
copyright = "The privedge authors"
author = "the privedge maintainers"
version = release = privedge.__version__

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
# Headings can be linked to, as on the pages of a repository.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"privedge {release}"
html_copy_source = False
html_show_sourcelink = False

_LINK = re.compile(r"\]\(([\w./-]+)\.md\)")


def contents(text: str) -> str:
    """The toctrees that the index page stands for: one for each heading."""
    trees = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        pages = "\n".join(_LINK.findall(part))
        if pages:
            caption = part.splitlines()[0]
            trees.append(f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```")
    return "\n\n".join(trees)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    if name == "index":
        source[0] += "\n" + contents(source[0])
    if name == "adr/index":
        records = "\n".join(_LINK.findall(source[0]))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{records}\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
