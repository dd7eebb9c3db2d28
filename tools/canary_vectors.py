"""The vectors of canary rows in tests/golden/client.json (tools/client_vectors.py)."""

import hashlib
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from privedge.client import canaries as canary
from privedge.client.cohort import Cohort
from privedge.config import Integrity
from privedge.errors import ConfigError, IntegrityError
from privedge.ran.presets import VECTOR, preset
from privedge.ran.rivals import Rivals
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.question import Question
from privedge.sharing.ring import Words, to_bytes

SNAPSHOT = "1f" * 32


def canaries() -> Any:
    """Canary rows of a cohort of vectors, for signs that are written out; how many a question has;
    and what comes of answers. Words may differ by one unit of 2^-16: sums have no order.
    """
    spec = preset(VECTOR, size=64, unit_length=True, components=1)
    drawn = (
        np.frombuffer(hashlib.shake_128(b"rivals").digest(4 * 64 * 4), "<i4").reshape(4, 64) / 2**31
    )
    rivals = Rivals.of(
        (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32), (64,)
    )
    rows, signs = rivals.rows.astype(np.float64), _signs("signs", 64)
    near = [to_bytes(_row(canary.near(rows, at, signs))).hex() for at in range(len(rows))]
    return {
        "spec": spec.to_json(),
        "rivals": rivals.to_bytes().hex(),
        "rivals_sha256": rivals.digest,
        "signs": [int(sign) for sign in signs],
        "stranger": to_bytes(_row(canary.stranger(rows, signs))).hex(),
        "near": near,
        "rows": [_rows(rivals, spec, asked) for asked in _ASKED],
        "sifted": [_sifted(*outcome) for outcome in _OUTCOMES],
    }


@dataclass(frozen=True)
class _Asked:
    integrity: Integrity | None
    verify: bool = False
    one_subject: bool = False
    max_batch: int = 64
    rivals: int = 4
    public_owners: int = 2
    own: int = 1


_ASKED = (
    _Asked(None, verify=True),
    _Asked(None, verify=True, max_batch=4),
    _Asked(None, verify=True, max_batch=3),
    _Asked(None, verify=True, one_subject=True, own=2),
    _Asked(None, verify=True, rivals=0, public_owners=0),
    _Asked(None),
    _Asked("none", verify=True),
    _Asked("canaries:0"),
    _Asked("canaries:1"),
    _Asked("canaries:3", own=5),
    _Asked("canaries:3", own=6),
    _Asked("canaries:7", own=57),
    _Asked("canaries:7", verify=True, max_batch=16, public_owners=0),
    _Asked("canaries:7", max_batch=8),
    _Asked("canaries:3", max_batch=7),
    _Asked("canaries:3", max_batch=3),
    _Asked("canaries:3", public_owners=0),
    _Asked("canaries:3", one_subject=True, own=2),
    _Asked("canaries:1", verify=True, max_batch=2),
)


def _rows(rivals: Rivals, spec: RanSpec, given: _Asked) -> Any:
    """How many canaries are wanted, and of all rows how many of which kind; null if refused."""
    asked, verify = asdict(given), given.verify
    cohort = Cohort(
        "vectors", spec, 0.7, ("ana", "ben"), SNAPSHOT, given.max_batch,
        rivals=given.rivals, public_owners=given.public_owners,
    )  # fmt: skip
    try:
        count = canary.wanted(given.integrity, cohort, verify, given.one_subject)
        if not count:
            return asked | {"wanted": 0}
        found = canary.Canaries(cohort, rivals, count, verify=verify)
    except ConfigError:
        return asked | {"wanted": None}
    mixed = found.mixed(np.zeros((given.own, 64), np.uint64))
    kinds = [kind for _, kind, _ in mixed.canaries]
    again = found.again(canary.Doubt(mixed.words[:1], 0, []))
    return asked | {
        "wanted": count,
        "room": found.room,
        "rows": len(mixed.words),
        # Of a single one the kind is by chance.
        "strangers": kinds.count(canary.STRANGER) if len(kinds) > 1 else None,
        "again": [len(again.words), found.times],
    }


# Of five rows, the own one and four canaries: each the column that is 1, or other words.
_EXPECTED = (None, (canary.PUBLIC, 2), (canary.STRANGER, None), (canary.STRANGER, None))
_OUTCOMES = (
    ("as expected", [[1, 0, 0, 0], [0, 0, 1, 0], [0] * 4, [0] * 4]),
    ("one stranger is named", [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0] * 4]),
    ("both strangers are named", [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 0, 0]]),
    ("a public owner is not named", [[1, 0, 0, 0], [0] * 4, [0] * 4, [0] * 4]),
    ("another owner is named", [[1, 0, 0, 0], [1, 0, 0, 0], [0] * 4, [0] * 4]),
    ("a stranger's row is no answer", [[1, 0, 0, 0], [0, 0, 1, 0], [0, 2, 0, 0], [0] * 4]),
    ("a stranger's row has two ones", [[1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0], [0] * 4]),
)


def _sifted(name: str, opened: list[list[int]]) -> Any:
    """What a client makes of it: the own rows' answers, a doubt, or an alarm."""
    words = np.array(opened, np.uint64)
    expected = [(at, *each) for at, each in enumerate(_EXPECTED) if each is not None]
    mixed = canary.Mixed(np.zeros((4, 64), np.uint64), (0,), tuple(expected))
    question = Question("0e" * 16, "vectors", SNAPSHOT, (4, 64))
    with tempfile.TemporaryDirectory() as folder:
        try:
            _, doubt = mixed.sifted((words, np.zeros_like(words)), question, Path(folder))
        except IntegrityError:
            outcome: Any = "alarm"
        else:
            outcome = "answers" if doubt is None else {"doubt": doubt.column}
    return {
        "name": name,
        "own": [0],
        "canaries": [{"row": at, "kind": kind, "column": column} for at, kind, column in expected],
        "opened": opened,
        "outcome": outcome,
    }


def _signs(seed: str, count: int) -> Any:
    return 2.0 * (np.frombuffer(hashlib.shake_128(seed.encode()).digest(count), np.uint8) & 1) - 1


def _row(values: Any) -> Words:
    return encode(values.astype(np.float32).reshape(1, -1))
