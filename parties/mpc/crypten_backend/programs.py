"""Run a CrypTen program: two lines around what is written for CrypTen.

    with program(session, masked):
        fix(model)                       # its weights are masked once
        scores = model(crypten.cryptensor(image, src=0))

Both parties run the same program in lockstep. Inside, CrypTen computes through the session and
nothing else (install.py). A program is code with all rights of its process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.install import install
from parties.mpc.crypten_backend.load import MPCTensor
from parties.mpc.crypten_backend.marks import Marks
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.fused.protocols import Fused
from parties.mpc.session import Session
from privedge.errors import NotReady


@contextmanager
def program(session: Session, masked: MaskedWeights, *, exact: bool = False) -> Iterator[None]:
    """Inside, this thread's CrypTen computes in `session`.

    masked: what this party keeps of marked weights; the same at later runs of the same model only.
    exact: truncation is the floor; else the floor or one unit more.
    """
    install()
    running.attach(Fused(session, masked, exact=exact))
    try:
        with marking():
            yield
    finally:
        running.detach()


@contextmanager
def marking() -> Iterator[None]:
    """Inside, `fix` marks weights, for whoever has protocols on this thread already."""
    running.running.marks = Marks()
    try:
        yield
    finally:
        running.running.marks = None


def fix(model: Any, name: str = "") -> None:
    """Mark the encrypted parameters of a crypten.nn model: products with them open no weight after
    the first query (marks.py). `name` tells models of one run apart.

    Raises AlreadyExists for a model that was marked, NotReady without a running program.
    """
    marks = running.running.marks
    if marks is None:
        raise NotReady("no program is running in this thread")
    for path, parameter in model.named_parameters():
        if isinstance(parameter, MPCTensor):
            marks.mark(parameter._tensor, f"{name}/{path}")
