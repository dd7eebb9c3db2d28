"""docs/reference/ran-spec.schema.json: the JSON schema of architectures."""

import json
from typing import Any

from privedge.ran.spec import RanSpec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LIMITS = (
    "The architecture of a cohort's models (privedge/ran/spec.py). A cohort's digest is the "
    "SHA-256 of its canonical JSON: every field given, keys sorted, no spaces. Not said here: each "
    "layer must fit the output of the one before it, and the last one must give as many values as "
    "the feature map."
)


def schema() -> str:
    """The whole file."""
    described = _without_titles(RanSpec.model_json_schema())
    whole = {"$schema": _DIALECT, "title": "RanSpec", **described, "description": _LIMITS}
    return json.dumps(whole, indent=1) + "\n"


def _without_titles(part: Any) -> Any:
    """Drop the titles that repeat the name of a field."""
    if isinstance(part, list):
        return [_without_titles(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        key: _without_titles(value)
        for key, value in part.items()
        if key != "title" or not isinstance(value, str)
    }
