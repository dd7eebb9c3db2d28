"""Public probes of a cohort: pictures or vectors of nobody, and what errors on them may be.

A new model becomes active only if it keeps to them (docs/protocol.md#model-check, ADR 39):

*   the mean of its errors lies in a band: a model that reconstructs everything is below it, and one
    that reconstructs nothing above;
*   it wins few of the probes. A model wins one if it would be named there, in a cohort of public
    people: if its error is below the margin times the least of theirs.

They are a pool. Which of them are asked is drawn anew for each model, once both parties hold it, by
a coin of both. Nothing of it is secret: both parties and every owner may have the file, an npz
without pickles:

    probes   float32 (n, *input_shape)   what the feature map makes of each picture or vector
    usual    float64 (n,)                the median error of the public people on each
    limits   float64 (n,)                the error below which a model wins it
    band     float64 (2,)                of the sum of a sound model's errors, over the usual ones'
    most_won float64 ()                  the share of the probes that a model may win
    asked    int64 ()                    how many are drawn for a check
    spec     64 hexadecimal digits       the digest of the architecture, on which the rest depends

The digest covers what the file says and not its bytes.
"""

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge import private_file
from privedge.arrays import Features
from privedge.config import StrPath
from privedge.errors import ConfigError
from privedge.ran import public_rows
from privedge.ran.model_bounds import Band, ProbeBounds
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import LIMIT, encode
from privedge.sharing.ring import to_bytes

# What a thief would have to be bad at; and what one check can ask.
MAX_POOL, MAX_ASKED = 4096, 256

Reals = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """What errors on the probes of a pool may be.

    Attributes:
        usual: float64 (n,), the median error of public people on each.
        limits: float64 (n,), the error below which a model wins it.
        band: of the sum of a model's errors, over that of the usual ones.
        most_won: the share of the probes that it may win.
        asked: how many are drawn for a check.
    """

    usual: Reals = field(repr=False)
    limits: Reals = field(repr=False)
    band: Band
    most_won: float
    asked: int

    def of(self, drawn: npt.NDArray[np.intp]) -> ProbeBounds:
        """What errors on these probes may be."""
        usual = float(self.usual[drawn].mean())
        return ProbeBounds(
            Band(self.band.least * usual, self.band.most * usual),
            tuple(map(float, self.limits[drawn])),
            int(self.most_won * len(drawn)),
        )


@dataclass(frozen=True)
class Drawn:
    """The probes of one check: float32 (m, *input_shape), and what errors on them may be."""

    rows: Features = field(repr=False)
    bounds: ProbeBounds

    def __len__(self) -> int:
        return len(self.rows)

    def to_words(self, bits: int) -> bytes:
        """The rows at scale 2^16, as a party's words, of `bits` bits, of a query of all of them."""
        return to_bytes(encode(self.rows, what="probes"), bits)


@dataclass(frozen=True, eq=False)
class Probes:
    """The public probes of a cohort. Equal ones have equal digests.

    Attributes:
        rows: their features, float32 (n, *input_shape).
        rule: what errors on them may be.
        digest: SHA-256 (hex) over the architecture, the rule and the rows.
    """

    rows: Features = field(repr=False)
    rule: Rule
    digest: str

    @staticmethod
    def of(rows: npt.ArrayLike, rule: Rule, spec: RanSpec) -> "Probes":
        """Check rows, (n, *spec.input_shape), and their rule. Raises ConfigError."""
        kept = public_rows.checked(
            "probes", rows, spec.input_shape, MAX_POOL, most_bytes=public_rows.POOL_BYTES
        )
        _require_rule(rule, kept)
        band = rule.band
        facts = json.dumps(
            [spec.digest(), band.least.hex(), band.most.hex(), rule.most_won.hex(), rule.asked]
        )
        digest = hashlib.sha256(b"privedge probes v2\0" + facts.encode())
        for part in (kept, rule.usual, rule.limits):
            digest.update(json.dumps(list(part.shape)).encode() + part.tobytes())
        return Probes(kept, rule, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.rows)

    def picked(self, coin: bytes) -> npt.NDArray[np.intp]:
        """Which probes a coin draws: those whose SHA-256 with it are the least, in order."""
        order = sorted(
            range(len(self)), key=lambda at: hashlib.sha256(coin + at.to_bytes(4, "big")).digest()
        )
        return np.sort(np.array(order[: self.rule.asked], dtype=np.intp))

    def drawn(self, coin: bytes) -> Drawn:
        """The probes that a coin draws."""
        chosen = self.picked(coin)
        return Drawn(self.rows[chosen], self.rule.of(chosen))

    def bounds(self) -> ProbeBounds:
        """What errors on all of the pool may be."""
        return self.rule.of(np.arange(len(self)))


def _require_rule(rule: Rule, rows: Features) -> None:
    """Raises ConfigError."""
    for part in (rule.usual, rule.limits):
        sound = part.dtype == np.float64 and part.shape == (len(rows),)
        if not (sound and (part >= 0).all() and (part < LIMIT).all()):  # false for NaN too
            raise ConfigError(f"probes: no errors below {LIMIT:g}; make the file again")
    top = rule.band.most * float(rule.usual.max())
    if not (0 <= rule.band.least < rule.band.most and top < LIMIT):
        raise ConfigError(f"probes: no band of errors below {LIMIT:g}; make the file again")
    if not 0 <= rule.most_won <= 1:
        raise ConfigError("probes: most_won is a share; make the file again")
    most = min(MAX_ASKED, len(rows), public_rows.MESSAGE_BYTES // rows[0].nbytes)
    if not 1 <= rule.asked <= most:
        raise ConfigError(f"probes: 1 to {most} can be asked, not {rule.asked}")


def read(path: StrPath, spec: RanSpec) -> Probes:
    """Read the probes of a cohort of this architecture. Raises ConfigError."""
    names = ("probes", "usual", "limits", "band", "most_won", "asked", "spec")
    rows, usual, limits, band, most_won, asked, made_for = public_rows.unpacked(
        path, *names, most_bytes=public_rows.POOL_BYTES
    )
    if str(made_for) != spec.digest():
        raise ConfigError(
            f"{path}: was made for another architecture; train with --cohort, or ask the operators "
            "for the probes of this cohort"
        )
    numbers = [
        ("band", band, (2,), "f8"),
        ("most_won", most_won, (), "f8"),
        ("asked", asked, (), "i8"),
    ]
    for name, found, shape, kind in numbers:
        if found.shape != shape or found.dtype != np.dtype(kind):
            raise ConfigError(f"{path}: its {name} is no such number; make it again")
    try:
        edges = Band(*map(float, band))
        rule = Rule(
            usual.astype(np.float64), limits.astype(np.float64), edges, float(most_won), int(asked)
        )
        return Probes.of(rows, rule, spec)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def write(path: Path, probes: Probes, spec: RanSpec) -> None:
    """Write the file that `read` reads; whole or not at all."""
    packed, rule = io.BytesIO(), probes.rule
    np.savez_compressed(
        packed,
        probes=probes.rows,
        usual=rule.usual,
        limits=rule.limits,
        band=np.array([rule.band.least, rule.band.most]),
        most_won=np.float64(rule.most_won),
        asked=np.int64(rule.asked),
        spec=np.array(spec.digest()),
    )
    private_file.write(path, packed.getvalue(), mode=0o644)
