"""Pictures beside results: whose they are, how large they get, and what is left out."""

import base64
import io

import made_results
import numpy as np
from PIL import Image

from privedge_lab.report import reader
from privedge_lab.report.pictures import Album


def inside(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_picture_belongs_to_the_results_whose_name_it_bears(tmp_path):
    row = made_results.inversion("black-box", "none", 0.0, 20.0, 0.9)
    for name in ("cost", "depth"):
        made_results.store(tmp_path / f"{name}.json", "sweep", {"data": name}, [row])
    for name in ("cost", "depth-sheet", "unnamed"):
        made_results.picture(tmp_path / f"{name}.png")
    found = reader.read([tmp_path])
    album = Album(found)
    names = {s.settings["data"]: [p.name for p in album.of(s)] for s in found.sources}
    assert names == {"cost": ["cost", "unnamed"], "depth": ["depth-sheet"]}


def test_a_wide_picture_is_made_narrower_and_its_metadata_are_gone(tmp_path):
    made_results.identify(tmp_path)
    wide = Image.fromarray(np.zeros((10, 3000, 3), np.uint8))
    wide.info["comment"] = "secret"
    wide.save(tmp_path / "wide.png", pnginfo=_text("secret words"))
    found = reader.read([tmp_path])
    (picture,) = Album(found).of(found.sources[0])
    assert (picture.width, picture.height) == (1400, 5)
    assert inside(picture.uri).size == (1400, 5)
    assert b"secret" not in base64.b64decode(picture.uri.partition(",")[2])


def _text(words: str):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("comment", words)
    return info


def test_what_is_no_picture_or_one_too_many_is_left_out_and_named(tmp_path):
    made_results.identify(tmp_path)
    made_results.picture(tmp_path / "a.png")
    made_results.picture(tmp_path / "b.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "other.png").write_text("<svg onload='alert(1)'/>")
    found = reader.read([tmp_path])
    first = Album(found).of(found.sources[0])[0]
    album = Album(found, budget=len(first.uri))
    assert [picture.name for picture in album.of(found.sources[0])] == ["a"]
    assert [each.shown.rpartition("/")[2] for each in album.skipped] == [
        "b.png",
        "broken.png",
        "other.png",
    ]


def test_a_picture_that_says_it_is_gigantic_is_not_opened(tmp_path):
    made_results.identify(tmp_path)
    raw = made_results.picture(tmp_path / "big.png").read_bytes()
    # Width and height of a PNG are bytes 16 to 23; the header's own check comes after them.
    import zlib

    header = raw[12:16] + (60_000).to_bytes(4, "big") * 2 + raw[24:29]
    (tmp_path / "big.png").write_bytes(
        raw[:12] + header + zlib.crc32(header).to_bytes(4, "big") + raw[33:]
    )
    found = reader.read([tmp_path])
    album = Album(found)
    assert album.of(found.sources[0]) == []
    assert "cannot be shown" in album.skipped[0].why
