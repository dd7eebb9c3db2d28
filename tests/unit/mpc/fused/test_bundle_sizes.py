"""A bundle needs the memory that docs/how-to/size-a-pool.md states; it depends on public shapes."""

import re
from pathlib import Path

import pytest

from parties.mpc.bundles import size_of
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.predict import Rule, predict
from privedge.ran.presets import preset
from tests.unit.mpc.models import batch, cohort
from tests.unit.mpc.pair import fresh_masks, run

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "how-to" / "size-a-pool.md").read_text()
ROWS = re.findall(r"^ *\| `(\w+)` \| (\d+) \| (\d+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("name", "owners", "images", "mib"), ROWS)
def test_a_bundle_takes_what_the_operators_page_says(name, owners, images, mib):
    spec = preset(name, height=32, width=32, channels=1)
    parameters, masked = cohort(spec, int(owners)), fresh_masks()
    names = list(parameters)

    def program(engine, x, *stacked):
        given = dict(zip(names, stacked, strict=True))
        return predict(engine, spec, given, x, Rule(margin=0.9))

    for _ in range(2):  # the first run opens the weights
        outcome = run(
            program,
            batch(spec, int(images)),
            *parameters.values(),
            engine_type=FusedEngine,
            masked=masked,
        )
    assert f"{size_of(outcome.sessions[0].tuples.used) / 2**20:.2f}" == mib


def test_the_page_has_such_a_table():
    assert {row[0] for row in ROWS} == {"conv32", "subspace32"}
