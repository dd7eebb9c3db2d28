"""Write tests/golden/client.json: what a client sends and reads, byte for byte, for fixed draws.

    python -m tools.client_vectors            write the file anew
    python -m tools.client_vectors --check    compare with the file; 1 if a vector differs

For authors of clients in other languages (docs/how-to/integrate.md). Bytes are in hexadecimal. What
a client draws at random is stated here: a mask is as many bytes of SHAKE-128(seed) as the share
has, and salts and ids are written out. A real client takes all of them from its operating system.
The answers are those of the protocol itself, run on the shares that the vector shows.
"""

import hashlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.predict import Rule, predict
from parties.mpc.release import ReleaseKey
from privedge.client.answers import answer_shape, read_answers
from privedge.client.exchange import query_requests
from privedge.ran import features, inputs
from privedge.ran.feature_kinds import Pixels
from privedge.ran.narrow import tensor_bits, word_bits
from privedge.ran.presets import VECTOR, preset
from privedge.ran.rivals import Rivals
from privedge.ran.spec import ImageShape, RanSpec, Subspace
from privedge.rpc import codec
from privedge.sharing.combine import combine
from privedge.sharing.fixed_point import encode
from privedge.sharing.manifest import ModelManifest, TensorEntry, UploadHeader, commitment
from privedge.sharing.question import Question
from privedge.sharing.ring import Words, from_bytes, to_bytes
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge_lab.reference import run as reference
from tools import canary_vectors, prediction_vectors, vectors

FILE = Path(__file__).resolve().parents[1] / "tests" / "golden" / "client.json"

SPEC = RanSpec(
    name="vector",
    image=ImageShape(height=8, width=10, channels=1),
    features=Pixels(),
    layers=(Subspace(components=1),),
)
OWNERS = ("ana", "ben")
SNAPSHOT = "1f" * 32
RULE = {"margin": 0.8, "mean_share": 0.0}
SALTS = bytes(range(32)), bytes(range(32, 64))


# --- Pictures -------------------------------------------------------------------------------------


def pictures() -> Any:
    """Pictures of the spec's size as fixed-point numbers: grey and RGB, for grey and for colour."""
    return [_picture(channels, wanted) for wanted in (1, 3) for channels in (1, 3)]


def _picture(channels: int, wanted: int) -> Any:
    spec = SPEC.model_copy(update={"image": SPEC.image.model_copy(update={"channels": wanted})})
    pixels = np.frombuffer(_drawn(f"picture {channels}", 80 * channels), np.uint8)
    pixels = pixels.reshape((8, 10) if channels == 1 else (8, 10, 3))
    return {
        "width": 10,
        "height": 8,
        "channels": channels,
        "pixels": pixels.tobytes().hex(),
        "spec": spec.to_json(),
        "words": to_bytes(_words(spec, pixels)).hex(),
    }


# --- Vectors --------------------------------------------------------------------------------------


def own_vectors() -> Any:
    """Vectors as fixed-point numbers: float32 and float64, with and without unit length."""
    return [_vector(dtype, unit) for dtype in ("<f4", "<f8") for unit in (False, True)]


def _vector(dtype: str, unit_length: bool) -> Any:
    spec = preset(VECTOR, size=9, unit_length=unit_length, components=1)
    drawn = np.frombuffer(_drawn("vector", 9 * 4), "<i4") / 2**27
    values = drawn.astype(dtype)
    return {
        "dtype": {"<f4": "float32", "<f8": "float64"}[dtype],
        "values": values.tobytes().hex(),
        "spec": spec.to_json(),
        "words": to_bytes(_words(spec, values)).hex(),
    }


# --- Queries --------------------------------------------------------------------------------------


def queries() -> Any:
    """From the pictures to the answers: shares, messages to and from each party, labels."""
    near_ana, near_ben, stranger = _look(0), _look(1), np.full((8, 10), 128, np.uint8)
    return [
        _query("identify", [near_ana]),
        _query("identify, unknown", [stranger]),
        _query("identify, two pictures", [near_ben, stranger]),
        _query("identify, one subject", [near_ben, near_ben], one_subject=True),
        _query("verify, yes", [near_ana], verify_owner="ana"),
        _query("verify, no", [near_ana], verify_owner="ben"),
        _query("identify, public owners", [near_ben, _look(2), stranger], public_owners=2),
    ]


def _query(
    name: str,
    looks: list[Any],
    *,
    verify_owner: str | None = None,
    one_subject: bool = False,
    public_owners: int = 0,
) -> Any:
    stacked = np.stack(looks)
    query = _words(SPEC, stacked)
    bits = word_bits(SPEC)
    question = Question(
        "0e" * 16, "vectors", SNAPSHOT, query.shape, verify_owner, one_subject, bits
    )
    shares = _shared(query, f"query {name}")
    answers = _answered(question, shares, public_owners)
    opened = combine(*answers)
    return {
        "name": name,
        "spec": SPEC.to_json(),
        "cohort": question.cohort,
        "owners": list(OWNERS),
        "public_owners": public_owners,
        "snapshot_id": SNAPSHOT,
        "query_id": question.query_id,
        "verify_owner": verify_owner,
        "one_subject": one_subject,
        "pixels": [look.tobytes().hex() for look in looks],
        "words": to_bytes(query).hex(),
        "seed": f"query {name}",
        "word_bits": bits,
        "shares": [to_bytes(share, bits).hex() for share in shares],
        "requests": [_messages(query_requests(question, share)) for share in shares],
        "responses": [_messages(_response(share)) for share in answers],
        "opened": opened.tolist(),
        "answers": [
            answer.owner for answer in read_answers(opened, OWNERS, question, public_owners)
        ],
    }


def _look(owner: int) -> Any:
    """A picture that the model of `owner` reconstructs well: its mean with some noise."""
    noise = np.frombuffer(_drawn("noise", 80), np.uint8).reshape(8, 10) // 32
    return (_mean(owner) + noise).astype(np.uint8)


def _mean(owner: int) -> Any:
    """Of two owners, and after them of public owners."""
    mean = np.full((8, 10), 40, np.uint8)
    if owner < len(OWNERS):
        mean[owner * 4 : owner * 4 + 4] = 200
    else:
        mean[:, (owner - len(OWNERS)) * 5 :][:, :5] = 200
    return mean


def _answered(
    question: Question, shares: tuple[Words, Words], public_owners: int
) -> tuple[Words, Words]:
    """Both parties' answer shares, as the protocol computes them from the shares of the query."""
    rans = [_ran(place) for place in range(len(OWNERS))]
    names = list(SPEC.parameters())
    stacked = [encode(np.stack([ran.parameters[name] for ran in rans])) for name in names]
    place = None if question.verify_owner is None else OWNERS.index(question.verify_owner)
    rule = Rule(
        **RULE,
        one_subject=question.one_subject,
        verify_position=place,
        rivals=_rivals(public_owners),
        public_owners=public_owners,
    )

    def program(engine: Any, query: Any, *parameters: Any) -> Any:
        return predict(engine, SPEC, dict(zip(names, parameters, strict=True)), query, rule)

    models = zip(names, stacked, strict=True)
    given = [shares, *(_shared(words, f"model {name}") for name, words in models)]
    pairs = [(reference.as_tensor(first), reference.as_tensor(second)) for first, second in given]
    masked = (
        MaskedWeights(b"", vectors.WEIGHT_SEEDS[0]),
        MaskedWeights(b"", vectors.WEIGHT_SEEDS[1]),
    )
    outcome = reference.run(program, *pairs, masked=masked, bundles=prediction_vectors.supply())
    mine, theirs = outcome.inner
    # Released once more, under a key of test values.
    zero = ReleaseKey(vectors.NONCES, vectors.SESSION).zero("answer", mine.shape)
    first, second = reference.as_words(mine + zero), reference.as_words(theirs - zero)
    shape = answer_shape(OWNERS, question, public_owners)
    return first.reshape(shape), second.reshape(shape)


def _rivals(count: int) -> Rivals | None:
    """All of them public owners."""
    rows = [_mean(len(OWNERS) + at) / 127.5 - 1 for at in range(count)]
    if not rows:
        return None
    return Rivals.of(
        np.stack(rows).reshape(-1, *SPEC.input_shape).astype(np.float32), SPEC.input_shape
    )


def _response(share: Words) -> list[pb.QueryResponse]:
    header = pb.AnswerHeader(shape=share.shape, cost=pb.Cost(rounds=8))
    return [pb.QueryResponse(header=header), pb.QueryResponse(words=to_bytes(share))]


def refused_answers() -> Any:
    """Sums of two answer shares, of shape (1, 2), that no client may report as an answer."""
    return [[2, 0], [1, 1], [0, (1 << 64) - 1], [1 << 16, 0], [1, 1 << 63]]


# --- Uploads --------------------------------------------------------------------------------------


def upload() -> Any:
    """From the file of a trained model to both parties' messages."""
    ran = _ran(0)
    shares = {
        name: _shared(encode(values), f"upload {name}") for name, values in ran.parameters.items()
    }
    manifest = _manifest(ran, shares)
    headers = [UploadHeader(manifest, salt) for salt in SALTS]
    return {
        "file": _file(ran).hex(),
        "owner": ran.owner,
        "cohort": manifest.cohort,
        "model_id": manifest.model_id,
        "spec": ran.spec.to_json(),
        "spec_digest": manifest.spec_digest,
        "salts": [salt.hex() for salt in SALTS],
        "seeds": {name: f"upload {name}" for name in shares},
        "words": {name: to_bytes(encode(each)).hex() for name, each in ran.parameters.items()},
        "headers": _messages(
            pb.UploadModelRequest(header=codec.upload_header_to_wire(header)) for header in headers
        ),
        "word_bits": word_bits(SPEC),
        "shares": [
            b"".join(_wire(name, pair[party]) for name, pair in shares.items()).hex()
            for party in (0, 1)
        ],
        "manifest": manifest.to_json(),
        "manifest_digest": manifest.digest(),
    }


def _ran(owner: int) -> Ran:
    mean = (_mean(owner) / 127.5 - 1).astype(np.float32).reshape(-1)
    basis = np.zeros((1, 80), np.float32)
    basis[0, owner] = 1.0
    threshold = np.array([32767.0], np.float32)
    parameters = {"0.basis": basis, "0.mean": mean, "threshold": threshold}
    return Ran(SPEC, OWNERS[owner], parameters, {"images": "4"})


def _manifest(ran: Ran, shares: dict[str, tuple[Words, Words]]) -> ModelManifest:
    entries = tuple(
        TensorEntry(
            name,
            pair[0].shape,
            (_committed(0, name, pair), _committed(1, name, pair)),
            tensor_bits(SPEC, name),
        )
        for name, pair in shares.items()
    )
    return ModelManifest("0a" * 16, "vectors", ran.owner, ran.spec.digest(), entries)


def _committed(party: int, name: str, pair: tuple[Words, Words]) -> str:
    committed = commitment(SALTS[party], name)
    committed.update(_wire(name, pair[party]))
    return committed.hexdigest()


def _wire(name: str, share: Words) -> bytes:
    return to_bytes(share, tensor_bits(SPEC, name))


def _file(ran: Ran) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ana.ran"
        ran.save(path)
        return path.read_bytes()


# --- Parts ----------------------------------------------------------------------------------------


def _words(spec: RanSpec, images: Any) -> Words:
    return encode(features.extract(spec, inputs.given(images, spec.image)))


def _shared(secret: Words, seed: str) -> tuple[Words, Words]:
    mask = from_bytes(_drawn(seed, secret.nbytes), secret.shape)
    return mask, secret - mask


def _drawn(seed: str, count: int) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(count)


def _messages(messages: Any) -> list[str]:
    return [message.SerializeToString(deterministic=True).hex() for message in messages]


VECTORS: vectors.Vectors = {
    "pictures": pictures,
    "vectors": own_vectors,
    "queries": queries,
    "refused_answers": refused_answers,
    "predictions": prediction_vectors.predictions,
    "canaries": canary_vectors.canaries,
    "upload": upload,
}


def main(arguments: Sequence[str]) -> int:
    """Do what the module docstring says; return the exit status."""
    return vectors.main(arguments, FILE, VECTORS)


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1:]))
