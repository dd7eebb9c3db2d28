"""`privedge report` as a command: what it writes, says and refuses."""

import json
import shlex
import sys
from pathlib import Path

import pytest
import typer.main

from privedge.cli import main
from privedge_lab.report import approaches
from privedge_lab.report.sections import (
    attributes,
    conditions,
    costs,
    disguising,
    fairness,
    growth,
    inversion,
    original,
    owners,
    parties,
)
from privedge_lab.results.store import Results


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["privedge", *arguments])
    with pytest.raises(SystemExit) as ending:
        main.main()
        raise SystemExit(0)
    out, err = capsys.readouterr()
    return int(ending.value.code or 0), out, err


@pytest.fixture
def results(tmp_path: Path) -> Path:
    row = {"seed": 0, "owners": 3, "macro_recall": 0.8, "preset": "subspace32", "asked": 9}
    (tmp_path / "in").mkdir()
    Results("identify", {"data": "letters.npz"}, tmp_path / "in" / "identify.json").add(row)
    return tmp_path / "in"


def test_a_page_is_written_and_its_figures_told_as_json(monkeypatch, capsys, results, tmp_path):
    out = tmp_path / "page.html"
    code, told, _ = run(
        monkeypatch, capsys, "report", str(results), "--out", str(out), "--title", "Ours", "--json"
    )
    document = json.loads(told)
    assert code == 0
    assert document["bytes"] == out.stat().st_size
    assert [each["experiment"] for each in document["results"]] == ["identify"]
    assert "<h1>Ours</h1>" in out.read_text()


def test_a_broken_file_costs_one_line_and_the_page_is_still_made(
    monkeypatch, capsys, results, tmp_path
):
    (results / "half.json").write_text('{"format": 1')
    (results / "\x1b[31mred.json").write_text("{}")
    out = tmp_path / "page.html"
    code, _, err = run(monkeypatch, capsys, "report", str(results), "--out", str(out))
    assert code == 0 and out.exists()
    lines = err.strip().splitlines()
    assert len(lines) == 2 and "in/half.json is not JSON" in err
    assert "\x1b" not in err


def test_nothing_to_show_ends_in_one_line_and_leaves_no_page(monkeypatch, capsys, tmp_path):
    (tmp_path / "in").mkdir()
    out = tmp_path / "page.html"
    code, _, err = run(monkeypatch, capsys, "report", str(tmp_path / "in"), "--out", str(out))
    assert (code, err.count("\n"), out.exists()) == (1, 1, False)
    assert "no results file found" in err


def test_only_a_page_is_replaced(monkeypatch, capsys, results, tmp_path):
    model, page = tmp_path / "ana.ran", tmp_path / "page.html"
    model.write_bytes(b"a model")
    code, _, err = run(monkeypatch, capsys, "report", str(results), "--out", str(model))
    assert code == 1 and "is no page of privedge" in err and model.read_bytes() == b"a model"
    for _ in range(2):
        assert run(monkeypatch, capsys, "report", str(results), "--out", str(page))[0] == 0


def test_a_page_that_cannot_be_written_is_refused_before_reading(monkeypatch, capsys, results):
    out = results / "missing" / "page.html"
    code, _, err = run(monkeypatch, capsys, "report", str(results), "--out", str(out))
    assert code == 1 and "create it first" in err


COMMANDS = (
    *(conditions.ROBUSTNESS, conditions.BIAS, growth.MEASURE, fairness.MEASURE),
    *(
        original.MEASURE,
        owners.MEASURE,
        parties.PARTY,
        parties.MEMBERSHIP,
        inversion.TABLE,
        inversion.SWEEP,
    ),
    *(attributes.MEASURE, attributes.PARTITIONING, disguising.MEASURE, costs.QUERY),
    approaches.CUT_COST,
)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_that_the_page_names_exists_with_its_options(line):
    words = shlex.split(line.partition(">")[0])
    command = typer.main.get_command(main.build())
    for word in words[1:3]:
        command = command.commands[word]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
