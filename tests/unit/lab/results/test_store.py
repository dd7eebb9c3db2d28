"""Rows on disk: resumed, never overwritten, refused when they are something else's."""

import json

import pytest

from privedge.errors import ConfigError
from privedge_lab.results.store import Results


def test_a_resumed_run_finds_its_rows(tmp_path):
    path = tmp_path / "rows.json"
    Results("table", {"images": 3}, path).add({"cut": "conv1", "seed": 1, "psnr_db": 2.5})
    resumed = Results("table", {"images": 3}, path, resume=True)
    assert resumed.find({"cut": "conv1", "seed": 1}) == {"cut": "conv1", "seed": 1, "psnr_db": 2.5}
    assert resumed.find({"cut": "conv1", "seed": 2}) is None
    resumed.add({"cut": "fc1", "seed": 1})
    assert len(json.loads(path.read_text())["rows"]) == 2


def test_results_are_not_overwritten_unasked(tmp_path):
    path = tmp_path / "rows.json"
    Results("table", {}, path).add({"seed": 1})
    with pytest.raises(ConfigError, match="--resume"):
        Results("table", {}, path)


def test_a_file_keeps_the_command_that_began_it(tmp_path):
    path = tmp_path / "rows.json"
    Results("table", {}, path, command="privedge table --seed 1").add({"seed": 1})
    Results("table", {}, path, resume=True, command="privedge table --resume").add({"seed": 2})
    document = json.loads(path.read_text())
    assert document["command"] == "privedge table --seed 1" and len(document["rows"]) == 2
    assert "command" not in Results("table", {}).document()


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format":1,"experiment":"x"}'])
def test_a_file_that_holds_no_results_is_refused(tmp_path, text):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a results file"):
        Results("table", {}, path, resume=True)


def test_other_settings_are_refused(tmp_path):
    path = tmp_path / "rows.json"
    Results("table", {"images": 3}, path).add({"seed": 1})
    with pytest.raises(ConfigError, match="other settings"):
        Results("table", {"images": 4}, path, resume=True)
