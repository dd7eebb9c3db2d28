"""The spec of a cohort: of RANs, or of a model that is none."""

import json

from privedge.errors import CheckpointError
from privedge.graph.spec import ModelSpec, is_model
from privedge.ran.spec import RanSpec

Spec = RanSpec | ModelSpec

# No text of a spec is longer: 128 layers, or the names of 1024 labels.
_MOST = 1 << 20


def spec_from_json(text: str) -> Spec:
    """Parse and check the text of a spec, which says itself which of the two it is.

    Raises CheckpointError, which names the fault.
    """
    if len(text) > _MOST:
        raise CheckpointError(f"spec: its text is longer than {_MOST} characters")
    try:
        described = json.loads(text)
    except (ValueError, RecursionError):
        described = None
    return ModelSpec.from_json(text) if is_model(described) else RanSpec.from_json(text)


def of_rans(spec: Spec, cohort: str) -> RanSpec:
    """The spec of a cohort that must be of RANs. Raises CheckpointError."""
    if isinstance(spec, RanSpec):
        return spec
    raise CheckpointError(f"cohort {cohort}: serves a model, and no RANs")


def of_model(spec: Spec, cohort: str) -> ModelSpec:
    """The spec of a cohort that must be of a model. Raises CheckpointError."""
    if isinstance(spec, ModelSpec):
        return spec
    raise CheckpointError(f"cohort {cohort}: has RANs, and serves no other model")
