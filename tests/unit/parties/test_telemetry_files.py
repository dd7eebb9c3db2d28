"""What an operator configures, how many answers of a client count, and what a histogram says."""

import json
from fractions import Fraction
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from parties.config.telemetry import FOLDER, TelemetrySection
from parties.party.queries.score_quota import ScoreQuota
from parties.party.upkeep.telemetry import as_text, histograms, share_below
from parties.party.workers.messages import NOT_COUNTED, Counted
from privedge.errors import ConfigError
from privedge.rpc.versions import plain

LINE = {
    "cohort": "faces",
    "from": "2026-01-31T00:00:00+00:00",
    "period_s": 86400.0,
    "answers": 1000,
    "counts": [-3, 753, 200, 50],
    "epsilon": 1.0,
    "unit": "client",
    "noise_scale": 20.0,
}


def query(
    client: str, answers: int, settings: TelemetrySection | None, enrolling: str | None = None
) -> SimpleNamespace:
    cohort = SimpleNamespace(name="faces", telemetry=settings)
    snapshot = SimpleNamespace(cohort=cohort)
    return SimpleNamespace(client=client, answers=answers, snapshot=snapshot, enrolling=enrolling)


def test_the_noise_hides_all_counted_answers_of_a_client_or_each_one():
    assert TelemetrySection().scale == 20
    assert TelemetrySection(answers_per_client=3, epsilon=0.5).scale == 12
    assert TelemetrySection(unit="answer", epsilon=0.3).scale == Fraction(20, 3)


@pytest.mark.parametrize("wrong", [{"bins": 1}, {"epsilon": 0}, {"unit": "query"}, {"min": 3}])
def test_other_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        TelemetrySection(**wrong)


def test_the_parties_compare_every_setting_in_a_word_that_may_be_shown():
    words = {
        TelemetrySection(**changed).word
        for changed in (
            {},
            {"bins": 21},
            {"min_queries": 999},
            {"answers_per_client": 9},
            {"epsilon": 0.5},
            {"unit": "answer"},
            {"period_s": 3600},
        )
    }
    assert len(words) == 1 + len(TelemetrySection.model_fields)
    assert all(plain(word) == word for word in words)


def test_only_so_many_answers_of_a_client_count_in_a_period():
    now = [0.0]
    quota = ScoreQuota(lambda: now[0])
    settings = TelemetrySection(answers_per_client=3, period_s=10)
    ana, ben = query("ana", 2, settings), query("ben", 2, settings)
    assert quota.counted([ana, ben]) == Counted((True, True, True, True), 0)
    assert quota.counted([ben, ana]) == Counted((True, False, True, False), 0)
    assert quota.counted([ana]) == Counted((False, False), 0)
    now[0] = 10.0
    assert quota.counted([ana]) == Counted((True, True), 1)
    now[0] = 9.0  # set back: the quota of before is not given a second time
    assert quota.counted([ana]) == Counted((False, False), 0)
    now[0] = 10.0
    assert quota.counted([ana]) == Counted((True, False), 1)
    assert quota.counted([query("ana", 2, None)]) == NOT_COUNTED


def test_no_check_at_enrolment_counts_because_each_has_a_name_of_its_own():
    quota = ScoreQuota(lambda: 0.0)
    settings = TelemetrySection(answers_per_client=1)
    checks = [query(f"enrolment/ana/{model}", 1, settings, "ana") for model in range(3)]
    assert [quota.counted([check]) for check in checks] == [Counted((False,))] * 3
    assert quota.counted([query("ana", 1, settings)]) == Counted((True,))


def test_a_histogram_is_read_back_and_shown(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "faces.jsonl").write_text(f"{json.dumps(LINE)}\n")
    assert histograms(tmp_path) == histograms(tmp_path, "faces") == [LINE]
    assert dict(share_below(LINE))[0.5] == 0.75
    head, columns, first, second, *_ = as_text(LINE)
    assert head.endswith("1000 answers, epsilon 1 for each client")
    assert columns.split() == ["score", "answers", "known", "at", "this", "margin"]
    assert first.split() == ["0.000", "-", "0.250", "-3", "-0.3%"]
    assert second.split() == ["0.250", "-", "0.500", "753", "75.0%", "#" * 40]


def test_nothing_was_opened_yet_and_a_damaged_line_are_told_apart(tmp_path):
    assert histograms(tmp_path) == []
    with pytest.raises(ConfigError, match="nothing was opened yet"):
        histograms(tmp_path, "faces")
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "faces.jsonl").write_text(f'{json.dumps(LINE)}\n{{"counts": 1}}\n')
    with pytest.raises(ConfigError, match=r"faces\.jsonl: line 2 is no histogram"):
        histograms(tmp_path)
