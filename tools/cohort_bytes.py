"""What a query of a cohort sends: `python -m tools.cohort_bytes --owners 1000,10000`.

Both parties and a dealer in this process answer a question with made-up models of vectors, of
`--size` values each. Prints, for the second run on the models: rounds, bytes from a party to the
other one and from the dealer to both, of an owner each, and whether the answer is that of the
plaintext model. Bytes of an owner do not depend on the size of vectors, so 16 values are enough.
"""

import argparse
import math
from typing import Any

import numpy as np
import torch

from parties.mpc.predict import Rule, predict
from parties.mpc.schedule import schedule
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import WORD_BYTES, Words
from privedge_lab.reference import run as reference
from privedge_lab.reference.clear import ClearEngine

_RULE = Rule(margin=0.9)
_NO_THRESHOLD = 2.0**15 - 1


def models(spec: RanSpec, owners: int) -> dict[str, Words]:
    """Name -> (owners, *shape): means of length 1, and orthonormal rows. Public numbers."""
    rng = np.random.default_rng(owners)
    made = {}
    for name, shape in spec.parameters().items():
        values = rng.normal(size=(owners, *shape))
        if name == "0.mean":
            values /= np.linalg.norm(values, axis=1, keepdims=True)
        elif name == "0.basis":
            values = np.linalg.qr(values.transpose(0, 2, 1))[0].transpose(0, 2, 1)
        else:
            values = np.full_like(values, _NO_THRESHOLD)
        made[name] = encode(values)
    return made


def row(spec: RanSpec, owners: int) -> str:
    """Measure one cohort; a line of a table."""
    stacked = models(spec, owners)
    names = list(stacked)
    asked = stacked["0.mean"][owners // 2 : owners // 2 + 1]

    def program(engine: Any, x: Any, *numbers: Any) -> Any:
        return predict(engine, spec, dict(zip(names, numbers, strict=True)), x, _RULE)

    clear = [torch.from_numpy(words.view(np.int64)) for words in (asked, *stacked.values())]
    expected = program(ClearEngine(), *clear).numpy()
    masked = reference.fresh_masks()
    # The first run on the models opens what depends on them alone.
    answers = [reference.run(program, asked, *stacked.values(), masked=masked) for _ in "ab"]
    right = "yes" if (answers[1].value.view(np.int64) == expected).all() else "no"
    session = answers[1].sessions[0]
    dealt = sum(math.prod(shape) for kind in session.tuples.used for shape in kind.derived)
    each = session.bytes_sent / owners, WORD_BYTES * dealt / owners
    return (
        f"| {owners:,} | {schedule(owners).pairs} | {session.rounds} | {each[0]:.1f} | "
        f"{each[1]:.1f} | {right} |"
    )


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--owners", default="1000", help="how many, a comma list (1000)")
    parser.add_argument("--components", type=int, default=4, help="of a model (4)")
    parser.add_argument("--size", type=int, default=16, help="values of a vector (16)")
    parser.add_argument("--any-length", action="store_true", help="not of the length 1")
    given = parser.parse_args()
    spec = preset(
        "vector",
        size=given.size,
        unit_length=not given.any_length,
        components=given.components,
    )
    print(
        "| owners | levels of pairs | rounds | B to the other party | B from the dealer | right |"
    )
    print("|---|---|---|---|---|---|")
    for owners in given.owners.split(","):
        print(row(spec, int(owners)), flush=True)


if __name__ == "__main__":
    main()
