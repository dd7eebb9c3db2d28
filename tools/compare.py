"""Compare a query with that of another version: `python tools/compare.py REF --preset conv32`.

Both versions run on this machine at once, each with its three servers and the same made-up models,
and are asked about the same images in turn, so that whatever else the machine does slows both.
Prints median seconds, mean CPU seconds (one query in a few is followed by the making of randomness
for several) and their ratios, and fails if an answer differs. REF is anything that git can check
out; it needs the packages that are installed here.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

HERE = Path(__file__).resolve().parents[1]
# Queries that are asked before the measured ones.
_COLD = 2
_SEED = 1

Answer = Mapping[str, Any]
Pipe = IO[str]


class Side:
    """One version's servers, and a process that asks them."""

    def __init__(self, tree: Path, setting: argparse.Namespace) -> None:
        path = os.pathsep.join((str(tree), str(tree / "lab")))
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--side", json.dumps(vars(setting))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            cwd=tree,
            text=True,
        )
        self._ask, self._said = cast(Pipe, self._process.stdin), cast(Pipe, self._process.stdout)

    def ready(self) -> None:
        """Wait until the servers have the models and are prepared."""
        self._hear()

    def ask(self, number: int) -> Answer:
        """Ask about one image, and wait until the servers are at rest again."""
        self._ask.write(f"{number}\n")
        self._ask.flush()
        return self._hear()

    def stop(self) -> None:
        """End the servers."""
        self._process.communicate()

    def _hear(self) -> Answer:
        line = self._said.readline()
        if not line:
            raise SystemExit("compare: a version's servers ended; see the messages above")
        heard: Answer = json.loads(line)
        return heard


def answer_as_told(setting: argparse.Namespace) -> None:
    """Be one side: run this version's servers, and ask whatever number a line of input says."""
    from privedge_lab.bench import deployed, made
    from privedge_lab.bench.system import Setting, spec_of

    def silent(*_: object) -> None:
        """Show no progress: the other side's would write over it."""

    spec = spec_of(setting.preset)
    models = made.models(spec, setting.owners, _SEED)
    images = made.images(spec, setting.queries + _COLD, _SEED)
    batches = [images[at : at + 1] for at in range(len(images))]
    # An older version has no such setting.
    more = {"telemetry": True} if setting.telemetry else {}
    pools = Setting("warm", 0.0, **more)
    with deployed.running("fused", pools, models, batches, silent) as engine:
        print(json.dumps({}), flush=True)
        for line in sys.stdin:
            sample = engine.ask(int(line))
            said = {
                "owners": sample.owners,
                "rounds": sample.rounds,
                "bytes": sum(party.bytes_to_peer for party in sample.parties),
                "online_s": sample.online_s,
                "client_s": sample.client.all_s if sample.client else 0.0,
                "cpu_s": sum(sample.cpu_s.values()),
                "offline_cpu_s": sample.offline_cpu_s,
            }
            print(json.dumps(said), flush=True)


@contextmanager
def checked_out(ref: str) -> Iterator[Path]:
    """Check out `ref` beside this tree for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), ref], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def compare(ref: str, setting: argparse.Namespace) -> list[tuple[Answer, Answer]]:
    """Return (that version's, this version's) answer of each measured query."""
    with ExitStack() as stack:
        plain = argparse.Namespace(**{**vars(setting), "telemetry": False})
        sides = [Side(stack.enter_context(checked_out(ref)), plain), Side(HERE, setting)]
        for side in sides:
            stack.callback(side.stop)
        for side in sides:
            side.ready()
        asked = []
        for number in range(_COLD + setting.queries):
            # Each goes first in half of the pairs.
            order = sides if number % 2 else sides[::-1]
            said = {side: side.ask(number) for side in order}
            asked.append((said[sides[0]], said[sides[1]]))
            print(f"\rquery {number + 1} of {_COLD + setting.queries}", end="", file=sys.stderr)
        print(file=sys.stderr)
        return asked[_COLD:]


def report(asked: list[tuple[Answer, Answer]], ref: str) -> int:
    """Print medians and ratios. Returns 1 if an answer, its rounds or its bytes differ."""
    print(f"{str(len(asked)) + ' queries':24}{ref[:12]:>12}{'here':>12}{'ratio':>8}")
    for name in ("online_s", "client_s", "cpu_s", "offline_cpu_s"):
        summary = statistics.mean if "cpu" in name else statistics.median
        then, now = (summary(pair[at][name] for pair in asked) for at in (0, 1))
        label, unit = name.removesuffix("_s").replace("_", " ") + ", ms", 1000
        print(f"{label:24}{then * unit:12.2f}{now * unit:12.2f}{now / then:8.2f}")
    for name in ("rounds", "bytes"):
        then, now = (statistics.median(pair[at][name] for pair in asked) for at in (0, 1))
        print(f"{name:24}{then:12.0f}{now:12.0f}{now / then:8.2f}")
    differing = 0
    for name in ("owners", "rounds", "bytes"):
        count = sum(then[name] != now[name] for then, now in asked)
        print(f"{name + ' that differ':24}{count:12}")
        differing += count
    return min(differing, 1)


def main() -> int:
    """Parse the command line; be one side of a comparison, or compare."""
    if sys.argv[1:2] == ["--side"]:
        answer_as_told(argparse.Namespace(**json.loads(sys.argv[2])))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ref", metavar="REF", help="the other version, as git names it")
    parser.add_argument("--preset", default="subspace32", help="architecture (subspace32)")
    parser.add_argument("--owners", type=int, default=10, help="models in the cohort (10)")
    parser.add_argument("--queries", type=int, default=20, help="pairs of queries measured (20)")
    parser.add_argument(
        "--telemetry", action="store_true", help="count the scores of answers, in this version only"
    )
    setting = parser.parse_args()
    ref = setting.ref
    del setting.ref
    from privedge_lab.bench.processor import processor

    print(f"{setting.preset}, {setting.owners} owners, on: {processor()}")
    return report(compare(ref, setting), ref)


if __name__ == "__main__":
    sys.exit(main())
