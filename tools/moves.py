"""Move files to their new rooms and rewrite every name that follows from it.

    python tools/moves.py --stage parties     git mv, then rewrite the whole tree
    python tools/moves.py FILE...             rewrite the old names in these files only

The tables are those of the redesign. Rewriting twice changes nothing. This script goes once every
open branch is over.
"""

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

FRONT = "parties/front_end/"
PARTY = "parties/party/"
PARTIES = {
    "parties/server.py": PARTY + "server.py",
    "parties/newest.py": "parties/bounded_dict.py",
    FRONT + "admission.py": "parties/serving/admission.py",
    FRONT + "time_limit.py": "parties/serving/time_limit.py",
    FRONT + "asked.py": PARTY + "queries/pending.py",
    FRONT + "briefing.py": PARTY + "workers/briefing.py",
    FRONT + "cohorts.py": PARTY + "models/cohorts.py",
    FRONT + "desk.py": PARTY + "queries/desk.py",
    FRONT + "follower.py": PARTY + "queries/follower.py",
    FRONT + "inbox.py": PARTY + "queries/inbox.py",
    FRONT + "keeper.py": PARTY + "workers/snapshot_feed.py",
    FRONT + "leader.py": PARTY + "queries/leader.py",
    FRONT + "lines.py": PARTY + "queries/batch_queue.py",
    FRONT + "models.py": PARTY + "models/service.py",
    FRONT + "other_halves.py": PARTY + "queries/pairing.py",
    FRONT + "party_servicer.py": PARTY + "edge/party_servicer.py",
    FRONT + "peer_client.py": PARTY + "edge/peer.py",
    FRONT + "peer_servicer.py": PARTY + "edge/peer_servicer.py",
    FRONT + "queries.py": PARTY + "queries/service.py",
    FRONT + "registry.py": PARTY + "models/registry.py",
    FRONT + "runs.py": PARTY + "queries/runs.py",
    FRONT + "share_files.py": PARTY + "models/share_files.py",
    FRONT + "snapshots.py": PARTY + "models/snapshots.py",
    FRONT + "state_folder.py": PARTY + "models/state_folder.py",
    FRONT + "synchroniser.py": PARTY + "models/synchroniser.py",
    FRONT + "tally.py": PARTY + "queries/counters.py",
    FRONT + "uploads.py": PARTY + "models/uploads.py",
    FRONT + "workers.py": PARTY + "workers/processes.py",
    FRONT + "__init__.py": PARTY + "__init__.py",
    "parties/worker/abandon.py": "parties/worker/cancellation.py",
    "parties/worker/filler.py": "parties/worker/preprocessing/leader.py",
    "parties/worker/follower.py": "parties/worker/mpc_servicer.py",
    "parties/worker/known.py": "parties/worker/snapshot_cache.py",
    "parties/worker/peer_stream.py": "parties/worker/meeting.py",
    "parties/worker/pool.py": "parties/worker/preprocessing/pool.py",
    "parties/worker/preparing.py": "parties/worker/preprocessing/prepare.py",
    "parties/worker/runner.py": "parties/worker/servicer.py",
    "parties/worker/trouble.py": "parties/worker/preprocessing/backoff.py",
    "parties/worker/turns.py": "parties/worker/scheduler.py",
    "parties/worker/wishes.py": "parties/worker/preprocessing/targets.py",
    "tests/unit/parties/test_lines.py": "tests/unit/parties/test_batch_queue.py",
    "tests/unit/parties/test_newest.py": "tests/unit/parties/test_bounded_dict.py",
    "tests/unit/parties/test_peer_stream.py": "tests/unit/parties/test_meeting.py",
    "tests/unit/parties/test_preparing.py": "tests/unit/parties/test_prepare.py",
    "tests/unit/parties/test_models.py": "tests/unit/parties/test_model_service.py",
}
REFERENCE = {
    "privedge/mpc/clear.py": "privedge/reference/clear.py",
    "privedge/local/plaintext.py": "privedge/reference/model.py",
    "privedge/local/rounding.py": "privedge/reference/rounding.py",
    "privedge/attacks/recording.py": "privedge/reference/recording.py",
    "tests/unit/local": "tests/unit/reference",
}
LAB = "lab/privedge_lab/"
CLI = LAB + "cli/"
LABORATORY = {
    "privedge/cli/demo.py": CLI + "demo.py",
    "privedge/cli/bench.py": CLI + "bench.py",
    "privedge/cli/report.py": CLI + "report.py",
    "privedge/cli/attack.py": CLI + "attack/group.py",
    "privedge/cli/evaluate.py": CLI + "evaluate/group.py",
    "privedge/cli/split.py": CLI + "split/group.py",
    **{
        f"privedge/cli/{group}_{name}.py": f"{CLI}{group}/{name}.py"
        for group, names in {
            "attack": "attributes disguising membership partitioning party table",
            "evaluate": "bias fairness identify options original robustness scale",
            "split": "disguise query sweep train",
        }.items()
        for name in names.split()
    },
    "privedge/split": LAB + "baseline",
    "privedge/rpc/split_codec.py": LAB + "baseline/codec.py",
    "parties/split": LAB + "baseline/serving",
    "parties/samples/split.toml": LAB + "baseline/samples/split.toml",
    "parties/samples/split-client.toml": LAB + "baseline/samples/split-client.toml",
    "privedge/evaluation/results.py": LAB + "results/store.py",
    **{
        f"privedge/{name}": LAB + name
        for name in ["disguise", "attacks", "evaluation", "report", "bench", "demo", "pages"]
    },
    "privedge/datasets.py": LAB + "datasets.py",
    "privedge/sharing/known.py": LAB + "evaluation/mean_share.py",
    "protos/privedge/wire/split.proto": "protos/privedge_lab/wire/split.proto",
    **{
        f"privedge/wire/split_pb2{end}": f"{LAB}wire/split_pb2{end}"
        for end in (".py", ".pyi", "_grpc.py", "_grpc.pyi")
    },
    "privedge/workers.py": "privedge/child_processes.py",
    "tests/unit/test_workers.py": "tests/unit/test_child_processes.py",
    **{
        f"tests/unit/{name}": f"tests/unit/lab/{new}"
        for name, new in {
            "split": "baseline",
            "test_datasets.py": "test_datasets.py",
            **{n: n for n in ["disguise", "attacks", "evaluation", "report", "bench", "demo"]},
        }.items()
    },
    "tests/unit/parties/test_split_servicer.py": "tests/unit/lab/baseline/test_split_servicer.py",
    "tests/unit/rpc/test_split_codec.py": "tests/unit/lab/baseline/test_split_codec.py",
    **{
        f"tests/unit/cli/test_{name}.py": f"tests/unit/lab/cli/test_{name}.py"
        for name in [
            "evaluate_bias_command",
            "evaluate_command",
            "evaluate_original_command",
            "evaluate_robustness_command",
            "evaluate_scale_and_fairness",
            "report_command",
            "split_disguise_command",
            "split_sweep_command",
            "split_train_command",
        ]
    },
}
STAGES = {
    "parties": PARTIES,
    "reference": REFERENCE,
    "lab": LABORATORY,
}

# Packages that are new, and what they say of themselves.
PACKAGES = {
    "parties": {
        PARTY + "models": "What a party stores: shares on disk, who owns them, what is active.",
        PARTY + "queries": "Queries of a front end: waiting, paired, put into runs, answered.",
        PARTY + "workers": "The worker processes of a front end, and what they are told.",
        PARTY + "edge": "The front end's gRPC edge: services it offers and calls it makes.",
        "parties/worker/preprocessing": "The offline phase: correlated randomness made ahead.",
    },
    "reference": {
        "privedge/reference": "The protocol in the clear: what tests and figures compare with.",
    },
    "lab": {
        "lab/privedge_lab": (
            "The laboratory: baseline, attacks, evaluation, bench, demo and report.\n\n"
            "It depends on privedge and parties, never the reverse. Nobody who serves, asks or\n"
            "uploads installs it."
        ),
        CLI[:-1]: "The laboratory's commands of `privedge`.",
        CLI + "attack": "`privedge attack`: one module for each experiment.",
        CLI + "evaluate": "`privedge evaluate`: one module for each experiment.",
        CLI + "split": "`privedge split`: the plaintext baseline and its figures.",
        LAB + "results": "Stored results: rows in JSON files.",
        LAB + "wire": "Generated from protos/privedge_lab; nothing is written by hand.",
    },
}

# Class names: (files by prefix, old -> new). Only names in code, and names in `backticks`.
CLASSES = {
    "parties": (
        ("parties/", "tests/unit/parties/", "tests/integration/"),
        {
            "Asked": "PendingQuery",
            "Audience": "Waiters",
            "Lines": "BatchQueue",
            "OtherHalves": "Pairing",
            "Tally": "Counters",
            "Queries": "QueryService",
            "Models": "ModelService",
            "Keeper": "SnapshotFeed",
            "Newest": "BoundedDict",
            "Runner": "WorkerServicer",
            "Filler": "PoolLeader",
            "Wishes": "PoolTargets",
            "Trouble": "Backoff",
            "Turns": "Scheduler",
            "Known": "SnapshotCache",
            "Abandon": "Cancellation",
            "Dialler": "Dialer",
            "Lobby": "Acceptor",
        },
    ),
}


def dotted(path: str) -> str:
    """parties/party/server.py -> parties.party.server."""
    path = path.removeprefix("lab/").removesuffix(".py").removesuffix("/__init__")
    return path.replace("/", ".")


def moves() -> dict[str, str]:
    """Old module names to new ones, of the stages whose files have moved."""
    return {
        dotted(old): dotted(new)
        for stage in STAGES.values()
        for old, new in stage.items()
        if (ROOT / new).exists() and (old.endswith(".py") or "." not in old)
    }


def paths() -> dict[str, str]:
    return {
        old: new for stage in STAGES.values() for old, new in stage.items() if (ROOT / new).exists()
    }


def imports(text: str, modules: dict[str, str]) -> str:
    """`from old.package import module` where the modules went different ways."""

    def again(match: re.Match[str]) -> str:
        indent, package, names = match[1], match[2], match[3]
        listed = [n.strip() for n in re.sub(r"[()]|#.*", "", names).replace("\n", " ").split(",")]
        listed = [name for name in listed if name]
        if not any(f"{package}.{name.split(' as ')[0]}" in modules for name in listed):
            return match[0]
        by_package: dict[str, list[str]] = {}
        for name in listed:
            leaf, _, alias = name.partition(" as ")
            new = modules.get(f"{package}.{leaf}", f"{modules.get(package, package)}.{leaf}")
            home, _, new_leaf = new.rpartition(".")
            alias = alias or (leaf if leaf != new_leaf else "")
            by_package.setdefault(home, []).append(f"{new_leaf} as {alias}" if alias else new_leaf)
        return "\n".join(
            f"{indent}from {home} import {', '.join(names)}" for home, names in by_package.items()
        )

    return re.sub(r"^([ \t]*)from ([\w.]+) import (\([^)]*\)|[^\n(]+)", again, text, flags=re.M)


def classes(path: Path, text: str) -> str:
    """New class names, where they are names of code or stand in backticks."""
    name = path.resolve().relative_to(ROOT).as_posix()
    for stage, (prefixes, renames) in CLASSES.items():
        moved = all((ROOT / new).exists() for new in STAGES[stage].values())
        if not moved or not name.startswith(prefixes) or path.suffix != ".py":
            continue
        lines = text.splitlines(keepends=True)
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        for before, token in reversed(list(zip([None, *tokens], tokens, strict=False))):
            attribute = before is not None and before.string == "."
            if token.type == tokenize.NAME and token.string in renames and not attribute:
                row, column = token.start[0] - 1, token.start[1]
                line = lines[row]
                end = column + len(token.string)
                lines[row] = line[:column] + renames[token.string] + line[end:]
        text = "".join(lines)
        for old, new in renames.items():
            text = re.sub(rf"`{old}([`.])", rf"`{new}\1", text)
    return text


def rewrite(path: Path) -> None:
    """Put the new names into one file."""
    before = path.read_text(encoding="utf-8")
    modules = moves()
    text = imports(before, modules) if path.suffix == ".py" else before
    for old, new in sorted(modules.items(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"(?<![\w.])(?<!from ){re.escape(old)}(?!\w)", new, text)
        text = re.sub(rf"(?<=from ){re.escape(old)}(?!\w)", new, text)
    for old, new in sorted(paths().items(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"(?<![\w-])(?<!lab/)(?<!//){re.escape(old)}(?![\w-])", new, text)
    text = classes(path, text)
    if text != before:
        path.write_text(text, encoding="utf-8")


def git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def move(stage: str) -> None:
    for package, says in PACKAGES[stage].items():
        folder = ROOT / package
        folder.mkdir(parents=True, exist_ok=True)
        if (
            not (folder / "__init__.py").exists()
            and f"{package}/__init__.py" not in STAGES[stage].values()
        ):
            (folder / "__init__.py").write_text(f'"""{says}"""\n', encoding="utf-8")
    for old, new in STAGES[stage].items():
        if (ROOT / old).exists():
            (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
            git("mv", old, new)
    git("add", "-A")
    kinds = (".py", ".md", ".toml", ".proto", ".j2", ".css", ".in", ".txt")
    for name in git("ls-files").splitlines():
        path = ROOT / name
        if name == "tools/moves.py" or name.startswith("tests/golden/") or "_pb2" in name:
            continue
        if path.suffix in kinds or name in ("Makefile", ".ci/run", ".gitattributes"):
            rewrite(path)


def main() -> None:
    if sys.argv[1] == "--stage":
        move(sys.argv[2])
        return
    for name in sys.argv[1:]:
        rewrite(Path(name))


if __name__ == "__main__":
    main()
