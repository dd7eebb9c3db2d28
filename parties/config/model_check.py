"""How the new models of a cohort are checked."""

from pathlib import Path

from pydantic import Field

from privedge.config import Section


class ModelCheckSection(Section):
    """Each new model is checked on shares before it becomes active: docs/how-to/check-models.md.
    Without the table nothing is checked, and a party says so at its start. The same at both.
    """

    probes: Path | None = Field(
        default=None,
        description="Public probes and what errors on them may be, a file from `privedge probes "
        "make`; the same at both parties. Without it the values of a model are held to their "
        "bounds, and nothing says whether it reconstructs too much.",
    )
