"""What counts as a results file, and what happens to everything else in a folder."""

import json
from pathlib import Path

import made_results
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privedge.errors import ConfigError
from privedge_lab.report import reader


def test_results_are_found_at_any_depth_with_their_command_and_seeds(tmp_path):
    made_results.identify(tmp_path / "deep" / "deeper")
    (source,) = reader.read([tmp_path]).sources
    assert source.experiment == "identify"
    assert source.command == made_results.COMMAND
    assert source.seeds == [0, 1]
    assert source.shown == f"{tmp_path.name}/deep/deeper/identify.json"


def test_what_a_bench_printed_counts_too(tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({"throughput": [{"queries_per_s": 70.0}]}))
    (source,) = reader.read([tmp_path]).sources
    assert (source.experiment, source.command) == ("bench throughput", None)


def test_rows_that_a_bench_printed_are_told_from_stored_ones_by_their_processor(tmp_path):
    row = {"shape": "(2, 2) x (2, 2)", "kind": "dense", "torch_int64_gmacs": 9.0, "ours_gmacs": 8.0}
    printed = {"processor": "AMD EPYC,\nAVX-512", "rows": [row]}
    (tmp_path / "b.json").write_text(json.dumps(printed))
    stored = {"format": 1, "experiment": "identify", "settings": {}, "rows": [{"seed": 1}]}
    (tmp_path / "i.json").write_text(json.dumps(stored | {"processor": "AMD EPYC"}))
    (tmp_path / "x.json").write_text(json.dumps({"rows": [row]}))
    found = reader.read([tmp_path])
    assert [source.experiment for source in found.sources] == ["bench products", "identify"]
    assert found.sources[0].settings == {"processor": "AMD EPYC, AVX-512"}
    assert [(Path(each.shown).name, each.why) for each in found.skipped] == [
        ("x.json", "is no results file of format 1")
    ]


def test_rows_of_two_benches_under_one_key_are_told_apart_by_their_fields(tmp_path):
    row = {"system": "spu-cheetah", "preset": "conv32", "owners": 1, "seconds": 3.8}
    (tmp_path / "b.json").write_text(json.dumps({"processor": "AMD EPYC", "rows": [row]}))
    (source,) = reader.read([tmp_path]).sources
    assert source.experiment == "bench peers"


@pytest.mark.parametrize("named", [None, 3, [], ""])
def test_a_processor_that_is_no_name_is_left_out(named, tmp_path):
    (tmp_path / "b.json").write_text(json.dumps({"processor": named, "uploads": [{}]}))
    (source,) = reader.read([tmp_path]).sources
    assert (source.experiment, source.settings) == ("bench upload", {})


BROKEN = {
    "half.json": b'{"format": 1, "exper',
    "list.json": b"[1, 2]",
    "other.json": b'{"summary": 1}',
    "newer.json": b'{"format": 2, "experiment": "identify", "settings": {}, "rows": [{}]}',
    "empty.json": b'{"format": 1, "experiment": "identify", "settings": {}, "rows": []}',
    "rows.json": b'{"format": 1, "experiment": "identify", "settings": {}, "rows": [3]}',
    "settings.json": b'{"format": 1, "experiment": "identify", "settings": 3, "rows": [{}]}',
    "binary.json": b"\xff\xfe\x00",
    "deep.json": b"[" * 100_000,
    "digits.json": b'{"format": ' + b"1" * 5000 + b"}",
}


def test_a_file_that_is_broken_or_something_else_is_named_and_the_others_are_read(tmp_path):
    made_results.identify(tmp_path)
    for name, raw in BROKEN.items():
        (tmp_path / name).write_bytes(raw)
    found = reader.read([tmp_path])
    assert [source.experiment for source in found.sources] == ["identify"]
    assert {Path(each.shown).name for each in found.skipped} == set(BROKEN)
    assert all(each.why and "\n" not in each.why for each in found.skipped)


def test_the_same_rows_are_shown_once_however_often_they_are_stored(tmp_path):
    first = made_results.identify(tmp_path)
    (tmp_path / "printed.json").write_text(json.dumps(json.loads(first.read_text())))
    found = reader.read([tmp_path])
    assert len(found.sources) == 1
    assert "same rows" in found.skipped[0].why


def test_a_folder_given_twice_is_read_once(tmp_path):
    made_results.identify(tmp_path)
    found = reader.read([tmp_path, tmp_path / "identify.json", tmp_path])
    assert (len(found.sources), found.skipped) == (1, ())


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    elsewhere = made_results.identify(tmp_path / "elsewhere")
    inside = made_results.identify(tmp_path / "given", data="faces.npz")
    (inside.parent / "link.json").symlink_to(elsewhere)
    (source,) = reader.read([inside.parent]).sources
    assert source.settings["data"] == "faces.npz"


def test_nothing_at_all_is_an_error_that_names_the_folder(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"no results file found.*x\.json"):
        reader.read([tmp_path])
    with pytest.raises(ConfigError, match="is not there"):
        reader.read([tmp_path / "missing"])


@settings(max_examples=40, deadline=None)
@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_of_a_file_does_more_than_leave_it_out(raw, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    (folder / "any.json").write_bytes(raw)
    with pytest.raises(ConfigError, match="no results file found"):
        reader.read([folder])
