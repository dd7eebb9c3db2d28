"""What canaries cost a query: `python tools/canary_cost.py --queries 60`.

One deployment on this machine, with the cohort of `privedge attack tampering`: ten owners with
vectors of 128 values, twenty public rivals, and two public owners. One vector is asked about
without canaries, with 3 and with 7, in turn, so that whatever else the machine does slows all of
them. Prints the medians of what the servers take (the slower party's online seconds) and of what
the client waits, with their ratios. Fails if an answer differs.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from privedge.client.query import Client
from privedge.config import Integrity
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran import rivals
from privedge.sharing.fixed_point import SCALE
from privedge.user.checkpoint import Ran
from privedge_lab.bench import system
from privedge_lab.bench.deployed import Deployed, Pools
from privedge_lab.bench.rows import Sample
from privedge_lab.evaluation.tampering import Made

_KINDS: tuple[Integrity, ...] = ("none", "canaries:3", "canaries:7")
# Each kind is asked so often before it counts: its pool is of another size.
_COLD = 4


def silent(*_: object) -> None:
    """Show no progress."""


@contextmanager
def deployment(folder: Path, made: Made) -> Iterator[Deployment]:
    """Run the servers, with the models active."""
    rivals.write(folder / "rivals.npz", made.rivals, made.spec)
    cohort = replace(
        CohortSetting.of(made.spec, system.COHORT, margin=0.7),
        rivals=str(folder / "rivals.npz"),
        public_owners=2,
    )
    values = {name: words.view(np.int64) / SCALE for name, words in made.parameters.items()}
    models = [
        Ran(
            made.spec,
            f"owner-{at}",
            {name: all_of[at].astype(np.float32) for name, all_of in values.items()},
            {},
        )
        for at in range(len(values["threshold"]))
    ]
    with Deployment(folder, [cohort], {"engine": "fused"}) as running:
        system.fill(running, models, silent)
        yield running


def measure(queries: int) -> dict[str, list[Sample]]:
    """Return the counted samples of each kind, in order."""
    made = Made(0)
    asked = [made.asked("owner").view(np.int64) / SCALE for _ in range(queries + _COLD)]
    found: dict[str, list[Sample]] = {kind: [] for kind in _KINDS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        running = stack.enter_context(deployment(folder, made))
        pools, config = Pools(running), system.client_config(running)
        clients = {kind: stack.enter_context(Client(config, integrity=kind)) for kind in _KINDS}
        asking = {kind: Deployed(running, each, asked, pools) for kind, each in clients.items()}
        for number in range(len(asked)):
            # Each goes first in a third of the rounds.
            first = number % len(_KINDS)
            for kind in (*_KINDS[first:], *_KINDS[:first]):
                found[kind].append(asking[kind].ask(number))
            print(f"\rquery {number + 1} of {len(asked)}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return {kind: samples[_COLD:] for kind, samples in found.items()}


def report(found: dict[str, list[Sample]]) -> int:
    """Print medians and ratios. Returns 1 if an answer differs."""

    def online(samples: Sequence[Sample]) -> float:
        return statistics.median(each.online_s for each in samples)

    def waited(samples: Sequence[Sample]) -> float:
        return statistics.median(each.client.all_s for each in samples if each.client)

    plain = found["none"]
    print(
        f"{'canaries':12}{'online, ms':>12}{'ratio':>8}{'client, ms':>12}{'ratio':>8}{'rounds':>8}"
    )
    for kind, samples in found.items():
        servers, client = online(samples), waited(samples)
        print(
            f"{kind:12}{servers * 1000:12.2f}{servers / online(plain):8.2f}"
            f"{client * 1000:12.2f}{client / waited(plain):8.2f}{samples[-1].rounds:8}"
        )
    answers = [[each.owners for each in samples] for samples in found.values()]
    differing = sum(len(set(map(tuple, row))) > 1 for row in zip(*answers, strict=True))
    print(f"queries with answers that differ: {differing} of {len(plain)}")
    return min(differing, 1)


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--queries", type=int, default=60)
    return report(measure(parser.parse_args().queries))


if __name__ == "__main__":
    sys.exit(main())
