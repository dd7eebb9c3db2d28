"""Public probes of a cohort: pictures or vectors of nobody, and the band of errors on them.

A new model becomes active only if its mean error on the probes lies in the band: one that
reconstructs everything is below it, and one that reconstructs nothing above
(docs/protocol.md#model-check). Neither is secret: both parties and every owner may have the file.

The file is an npz without pickles:

    probes   float32 (n, *input_shape)   what the feature map makes of each picture or vector
    band     float64 (2,)                between what a sound model's mean error lies
    spec     64 hexadecimal digits       the digest of the architecture, on which the band depends

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
from privedge.ran.model_bounds import Band
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import LIMIT, encode
from privedge.sharing.ring import to_bytes

# A thief could avoid a few. These span most of what pictures have in common.
MAX_PROBES = 256


@dataclass(frozen=True)
class Probes:
    """The public probes of a cohort, and its band. Equal ones have equal digests.

    Attributes:
        rows: their features, float32 (n, *input_shape).
        band: the bounds of a model's mean error on them.
        digest: SHA-256 (hex) over the architecture, the band and the rows.
    """

    rows: Features = field(repr=False, compare=False)
    band: Band
    digest: str

    @staticmethod
    def of(rows: npt.ArrayLike, band: Band, spec: RanSpec) -> "Probes":
        """Check rows, (n, *spec.input_shape), and a band. Raises ConfigError."""
        kept = public_rows.checked("probes", rows, spec.input_shape, MAX_PROBES)
        if not 0 <= band.least < band.most < LIMIT:  # false for NaN too
            raise ConfigError(f"probes: no band of errors below {LIMIT:g}; make the file again")
        facts = json.dumps([spec.digest(), band.least.hex(), band.most.hex(), list(kept.shape)])
        text = b"privedge probes v1\0" + facts.encode() + kept.tobytes()
        return Probes(kept, band, hashlib.sha256(text).hexdigest())

    def __len__(self) -> int:
        return len(self.rows)

    def to_words(self, bits: int) -> bytes:
        """The rows at scale 2^16, as a party's words, of `bits` bits, of a query of all of them."""
        return to_bytes(encode(self.rows, what="probes"), bits)


def read(path: StrPath, spec: RanSpec) -> Probes:
    """Read the probes of a cohort of this architecture. Raises ConfigError."""
    rows, band, made_for = public_rows.unpacked(path, "probes", "band", "spec")
    if str(made_for) != spec.digest():
        raise ConfigError(
            f"{path}: was made for another architecture; train with --cohort, or ask the operators "
            "for the probes of this cohort"
        )
    if band.dtype != np.float64 or band.shape != (2,):
        raise ConfigError(f"{path}: its band must be two float64; make it again")
    try:
        return Probes.of(rows, Band(*map(float, band)), spec)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write(path: Path, probes: Probes, spec: RanSpec) -> None:
    """Write the file that `read` reads; whole or not at all."""
    packed = io.BytesIO()
    band = np.array([probes.band.least, probes.band.most])
    np.savez_compressed(packed, probes=probes.rows, band=band, spec=np.array(spec.digest()))
    private_file.write(path, packed.getvalue(), mode=0o644)
