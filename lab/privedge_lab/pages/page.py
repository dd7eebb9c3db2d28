"""Pages of HTML that need nothing else: no script, no network, pictures and charts inside.

Every text goes through escaping, and a name that is missing is an error. Sees what its callers put
on a page, and keeps nothing.
"""

import base64

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

_TEMPLATE = "page.html.j2"


def render(package: str, **texts: object) -> bytes:
    """The page of `package`, whose template extends layout.html.j2 from here, as UTF-8."""
    html = _environment(package).get_template(_TEMPLATE).render(texts)
    # A text may hold half of a surrogate pair, which UTF-8 cannot.
    return html.encode("utf-8", "replace")


def data_uri(kind: str, raw: bytes) -> str:
    """A picture for a page; `kind` is png or jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(raw).decode()}"


def _environment(package: str) -> Environment:
    return Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, "."), PackageLoader("privedge_lab.pages", ".")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
