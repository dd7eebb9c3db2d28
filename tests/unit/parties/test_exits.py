"""All places where words leave a worker, and that each lets released shares out, or public facts.

The walk reads the source. A new exit fails a test here until it is listed, and then it must be a
released share. What the protocol itself opens is masked; the tests of parties/mpc show that.
"""

import ast
from pathlib import Path

import pytest

from parties.mpc.bundles import Bundle
from parties.wire import mpc_pb2
from parties.worker.preprocessing.pool import Prepared

ROOT = Path(__file__).resolve().parents[3]
WORKER = sorted((ROOT / "parties/worker").rglob("*.py"))
ENGINES = sorted((ROOT / "parties/mpc").rglob("*.py"))

# Calls that turn words into something that leaves: to the other party, a front end, or a file.
LEAVING = {"exchange", "tobytes", "AnswerShare", "RunResponse", "write"}

# (module, function, call) -> what leaves there.
RELEASED, PUBLIC = "a released share", "public facts"
KNOWN = {
    ("computation", "_run", "AnswerShare"): RELEASED,
    ("codec", "answer_to_wire", "RunResponse"): "of an AnswerShare",
    ("codec", "answer_to_wire", "tobytes"): "of an AnswerShare",
    ("score_tally", "_told", "exchange"): PUBLIC,
    ("score_tally", "_open", "exchange"): RELEASED,
    ("score_tally", "_write", "write"): "sums with both parties' noise",
    ("mpc_servicer", "Exchange", "exchange"): "the call itself, no words",
    ("heartbeat", "_run", "write"): "one dot",
}
# Where the protocol opens what masks hide; every other module of parties/mpc opens nothing.
OPENING = {
    "session", "triples", "fused/choice", "fused/compare", "fused/pairs", "fused/squares",
    "fused/protocols", "crypten_backend/communicator", "truncation", "widening",
}  # fmt: skip
# Where two parties without a dealer make their randomness: no share of a query is at hand, and of
# weights and masks only ciphertexts are exchanged.
MAKING = {"twoparty/maker", "twoparty/learned"}


def exits(source: str) -> list[tuple[str, str, ast.Call, ast.FunctionDef]]:
    """Function, name of the call, the call and the function's body, of each call in LEAVING."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and (name := called(node)) in LEAVING:
                found.append((function.name, name, node, function))
    return found


def called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def released(argument: ast.expr, function: ast.FunctionDef) -> bool:
    """Whether the argument is a name that this function sets once, to what `release` returned."""
    if not isinstance(argument, ast.Name):
        return False
    values = [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id == argument.id
    ]
    return len(values) == 1 and isinstance(values[0], ast.Call) and called(values[0]) == "release"


def test_words_leave_a_worker_only_where_this_list_says():
    found = {
        (path.stem, function, name)
        for path in WORKER
        for function, name, _, _ in exits(path.read_text())
    }
    assert found == set(KNOWN)


@pytest.mark.parametrize("place", [place for place, what in KNOWN.items() if what == RELEASED])
def test_what_leaves_there_is_what_release_returned(place):
    module, function, name = place
    (path,) = [path for path in WORKER if path.stem == module]
    calls = [each for each in exits(path.read_text()) if each[:2] == (function, name)]
    assert calls
    for _, _, call, body in calls:
        assert released(call.args[0], body), f"{module}.py:{call.lineno}"


def test_of_an_answer_only_its_released_words_are_sent():
    source = (ROOT / "parties/worker/codec.py").read_text()
    (sent,) = [call for _, name, call, _ in exits(source) if name == "RunResponse"]
    (words,) = [ast.unparse(each.value) for each in sent.keywords if each.arg == "words"]
    assert words == "answer.words.contiguous().numpy().tobytes()"


def test_in_the_engines_only_masked_openings_are_exchanged():
    found = {
        str(path.relative_to(ROOT / "parties/mpc").with_suffix(""))
        for path in ENGINES
        if any(name == "exchange" for _, name, _, _ in exits(path.read_text()))
    }
    assert found == OPENING | MAKING


@pytest.mark.parametrize(
    "body",
    [
        "return AnswerShare(words, cost)",
        "words = answer.share; return AnswerShare(words, cost)",
        "words = release(s, w, 'answer'); words = inner; return AnswerShare(words, cost)",
        "words = release(s, w, 'answer'); words += inner; return AnswerShare(words, cost)",
        "return AnswerShare(release(s, w, 'answer') - inner, cost)",
    ],
)
def test_the_walk_sees_a_share_that_was_not_released(body):
    ((_, _, call, function),) = exits(f"def f(words, inner):\n    {body}\n")
    assert not released(call.args[0], function)


def test_bundles_carry_no_nonce():
    """It comes with the run: what was prepared must not say how a result is released."""
    order = mpc_pb2.Preparation.DESCRIPTOR.fields_by_name
    bundle = Bundle.__init__.__annotations__
    assert not any("nonce" in name for name in (*order, *Prepared.__annotations__, *bundle))
    assert "release_nonce" in mpc_pb2.SessionHello.DESCRIPTOR.fields_by_name
