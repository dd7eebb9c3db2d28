"""The part of tests/golden/client.json that is about served models (tools/client_vectors.py).

A small model of signals, with each of the three outputs. Scores are those of the protocol itself.
"""

import hashlib
from typing import Any

import numpy as np

from parties.mpc.crypten_backend.served import answered
from parties.mpc.crypten_backend.tensors import whole
from parties.mpc.dealing import SessionId, Tuples
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.release import ReleaseKey
from privedge.client import predictions as predicted
from privedge.client.exchange import query_requests
from privedge.graph.spec import WORD_BITS, ModelSpec
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.question import Question
from privedge.sharing.ring import Words, from_bytes, to_bytes
from privedge.wire import party_pb2 as pb
from privedge_lab.reference import run as reference
from tools import vectors

_GRAPH = {
    "kind": "model",
    "name": "signals",
    "input": [2, 10],
    "layers": [
        {"kind": "conv", "channels": 3, "kernel": [1, 3], "padding": [0, 1]},
        {"kind": "relu"},
        {"kind": "max_pool", "window": 2, "stride": 2},
        {"kind": "conv", "channels": 3, "kernel": [1, 1]},
        {"kind": "add", "plus": 2},
        {"kind": "average_pool", "window": [1, 2], "stride": 1},
        {"kind": "square"},
        {"kind": "flatten"},
        {"kind": "dense", "features": 3},
    ],
    "labels": ["rest", "walk", "run"],
}
_OUTPUTS = ({"kind": "label"}, {"kind": "scores"}, {"kind": "rounded", "bits": 3})
_SNAPSHOT = "2f" * 32


def predictions() -> Any:
    """From inputs to answers: words, shares, messages to and from each party, labels and scores."""
    return [_prediction({**_GRAPH, "outputs": outputs}) for outputs in _OUTPUTS]


def _prediction(graph: dict[str, Any]) -> Any:
    spec = ModelSpec.model_validate(graph)
    inputs = np.stack([_drawn(f"input {row}", spec.input).astype("<f4") for row in range(2)])
    words = encode(inputs)
    shares = _shared(words, f"prediction {spec.outputs.word}")
    question = Question("0f" * 16, "signals", _SNAPSHOT, words.shape, word_bits=WORD_BITS)
    answers = _answered(spec, shares)
    opened = combine(*answers)
    read = predicted.read(opened, spec, len(inputs))
    return {
        "spec": spec.to_json(),
        "cohort": question.cohort,
        "snapshot_id": _SNAPSHOT,
        "query_id": question.query_id,
        "inputs": [row.tobytes().hex() for row in inputs],
        "words": to_bytes(words).hex(),
        "seed": f"prediction {spec.outputs.word}",
        "word_bits": WORD_BITS,
        "shares": [to_bytes(share, WORD_BITS).hex() for share in shares],
        "requests": [_messages(query_requests(question, share)) for share in shares],
        "responses": [_messages(_response(share)) for share in answers],
        "opened": to_bytes(opened).hex(),
        "answers": [{"label": a.label, "name": a.name, "scores": a.scores} for a in read],
        "refused": [to_bytes(np.array(row, np.uint64)).hex() for row in _refused(spec)],
    }


def _refused(spec: ModelSpec) -> list[list[int]]:
    """Sums of two answer shares that no client may report as an answer."""
    if spec.outputs.kind == "label":
        return [[0, 0, 0], [1, 0, 1], [0, 2, 0], [(1 << 64) - 1, 1, 1]]
    beyond = (1 << 15) + 2 << spec.fractional_bits
    return [[beyond, 0, 0], [0, 0, (1 << 64) - beyond], [0, 1 << 63, 0]]


def _answered(spec: ModelSpec, shares: tuple[Words, Words]) -> tuple[Words, Words]:
    """Both parties' answer shares, as the protocol computes them from the shares of the query."""
    names = {name: _drawn(f"model g {name}", shape) for name, shape in spec.parameters().items()}
    given = [shares, *(_shared(encode(value), f"share of {at}") for at, value in names.items())]
    pairs = [(reference.as_tensor(first), reference.as_tensor(second)) for first, second in given]

    def program(engine: Any, x: Any, *weights: Any) -> Any:
        named = {name: each.share for name, each in zip(names, weights, strict=True)}
        return whole(answered(spec, named, x.share & ((1 << WORD_BITS) - 1)))

    seeds = vectors.WEIGHT_SEEDS
    masked = (MaskedWeights(b"", seeds[0]), MaskedWeights(b"", seeds[1]))
    outcome = reference.run(program, *pairs, masked=masked, bundles=supply())
    mine, theirs = outcome.inner
    # Released once more, under a key of test values.
    zero = ReleaseKey(vectors.NONCES, vectors.SESSION).zero("answer", mine.shape)
    return reference.as_words(mine + zero), reference.as_words(theirs - zero)


def supply() -> tuple[Tuples, Tuples]:
    """Both parties' tuples of a session with a dealer, all of test values."""
    session, seeds = SessionId(vectors.SESSION), vectors.SEEDS
    first, second = (
        Tuples(
            party,
            session,
            seeds[party],
            reference.near_dealer(session, seeds, vectors.WEIGHT_SEEDS, party),
        )
        for party in (0, 1)
    )
    return first, second


def _response(share: Words) -> list[pb.QueryResponse]:
    header = pb.AnswerHeader(shape=share.shape, cost=pb.Cost(rounds=8))
    return [pb.QueryResponse(header=header), pb.QueryResponse(words=to_bytes(share))]


def _drawn(seed: str, shape: tuple[int, ...]) -> Any:
    """Numbers from -1 to 1."""
    count = int(np.prod(shape))
    raw = hashlib.shake_128(seed.encode()).digest(4 * count)
    return np.frombuffer(raw, "<i4").reshape(shape) / 2**31


def _shared(secret: Words, seed: str) -> tuple[Words, Words]:
    raw = hashlib.shake_128(seed.encode()).digest(secret.nbytes)
    mask = from_bytes(raw, secret.shape)
    return mask, secret - mask


def _messages(messages: Any) -> list[str]:
    return [message.SerializeToString(deterministic=True).hex() for message in messages]
