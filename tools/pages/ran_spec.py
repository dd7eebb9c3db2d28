"""The JSON schemas of architectures: ran-spec.schema.json and model-spec.schema.json."""

import json
from typing import Any

from privedge.graph.spec import ModelSpec
from privedge.ran.spec import RanSpec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LIMITS = (
    "The architecture of a cohort's models (privedge/ran/spec.py). A cohort's digest is the "
    "SHA-256 of its canonical JSON: every field given, keys sorted, no spaces. Not said here: each "
    "layer must fit the output of the one before it, and the last one must give as many values as "
    "the feature map."
)

_LIMITS_OF_MODELS = (
    "The graph of a served model that is no RAN (privedge/graph/spec.py), and what may leave of "
    "its answers. A cohort's digest is the SHA-256 of its canonical JSON: every field given, keys "
    "sorted, no spaces. Not said here: each layer must fit its input, the last one gives 1 to 1024 "
    "scores, labels are as many as classes, and sizes as a whole are bounded."
)


def schema() -> str:
    """The whole file of RANs."""
    return _written("RanSpec", RanSpec.model_json_schema(), _LIMITS)


def of_models() -> str:
    """The whole file of other models."""
    return _written("ModelSpec", ModelSpec.model_json_schema(), _LIMITS_OF_MODELS)


def _written(title: str, described: Any, limits: str) -> str:
    whole = {"$schema": _DIALECT, "title": title, **_without_titles(described)}
    return json.dumps({**whole, "description": limits}, indent=1) + "\n"


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
