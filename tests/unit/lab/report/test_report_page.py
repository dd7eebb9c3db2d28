"""What the page says of results: figures, what is missing, and nothing that a file smuggles in."""

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import made_results
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privedge.errors import ConfigError
from privedge_lab.report import cohorts, page, reader, summary, trust
from privedge_lab.report.approaches import approaches

ROOT = Path(__file__).resolve().parents[4]


def made(folder: Path) -> str:
    """The page's HTML, with plain blanks."""
    raw = page.render(reader.read([folder]), "A report").html.decode()
    return raw.replace("\N{NO-BREAK SPACE}", " ")


class Reading(HTMLParser):
    """Tags with attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def of(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> str:
    return made(made_results.everything(tmp_path_factory.mktemp("all")))


def test_privacys_price_is_reckoned_on_the_seeds_that_both_were_measured_with(tmp_path):
    made_results.identify(tmp_path)
    # The pooled network has seed 0 only: 0.9 against 0.8, not against the mean of both seeds.
    (line, knn) = summary.answers(reader.read([tmp_path]))[0].lines
    plain = line.replace("\N{NO-BREAK SPACE}", " ")
    assert "private 80.0 % macro recall, a network on pooled images 90.0 % (seed 0)" in plain
    assert "privacy cost 10.0 points" in plain
    assert "cost nothing: private models are 40.0\N{NO-BREAK SPACE}points better" in knn


def test_two_splits_of_one_set_are_not_set_against_each_other(tmp_path):
    rows = [made_results.identified(0, 0.8, None, None)]
    other = made_results.IDENTIFY | {"part": "validation"}
    made_results.store(tmp_path / "a" / "i.json", "identify", made_results.IDENTIFY, rows)
    rows = [made_results.identified(0, 0.8, 0.9, None)]
    made_results.store(tmp_path / "b" / "i.json", "identify", other, rows)
    told = summary.answers(reader.read([tmp_path]))[0].lines
    assert [line.split(" (")[0] for line in told] == ["letters, VALIDATION images"]


def test_pooled_results_in_another_file_of_the_same_images_are_compared(tmp_path):
    for name, row in (
        ("private", made_results.identified(0, 0.8, None, None)),
        ("pooled", made_results.identified(0, 0.8, 0.85, None)),
    ):
        settings = made_results.IDENTIFY | {"baselines": [name]}
        made_results.store(tmp_path / name / "identify.json", "identify", settings, [row])
    (line,) = summary.answers(reader.read([tmp_path]))[0].lines
    assert "cost 5.0\N{NO-BREAK SPACE}points" in line


def test_seeds_measured_in_different_files_are_one_method_and_none_counts_twice(tmp_path):
    for name, seeds in (("first", (0, 1)), ("second", (1, 2))):
        rows = [made_results.identified(seed, 0.6 + seed / 10, None, None) for seed in seeds]
        rows[0]["asked"] = name
        made_results.store(tmp_path / name / "i.json", "identify", made_results.IDENTIFY, rows)
    (cohort,) = cohorts.cohorts(reader.read([tmp_path]))
    method = cohort.methods["subspace32"]
    assert method.recalls == pytest.approx({0: 0.6, 1: 0.7, 2: 0.8})
    assert [(s.shown.split("/")[1], len(rows)) for s, rows in method.used(method.rows)] == [
        ("first", 2),
        ("second", 1),
    ]


def test_pictures_give_way_when_the_page_would_be_too_large(tmp_path, monkeypatch):
    made_results.identify(tmp_path)
    for name in "abc":
        made_results.picture(tmp_path / f"{name}.png", (300, 300))
    found = reader.read([tmp_path])
    whole = page.render(found, "t")
    monkeypatch.setattr(page, "LARGEST", len(whole.html) - whole.pictured // 2)
    smaller = page.render(found, "t")
    assert len(smaller.html) <= page.LARGEST
    assert [each.shown.rpartition("/")[2] for each in smaller.skipped] == ["b.png", "c.png"]
    monkeypatch.setattr(page, "LARGEST", 1000)
    with pytest.raises(ConfigError, match="give fewer folders"):
        page.render(found, "t")


def test_a_view_far_above_guessing_is_called_a_leak(tmp_path):
    row = {"attack": "linear", "preset": "p", "party": "0", "reading": "r", "sigmas": 5.1}
    made_results.store(tmp_path / "party.json", "party", {"data": "d"}, [row])
    found = reader.read([tmp_path])
    assert any("It LEAKED" in sentence for sentence in summary.lead(found, summary.answers(found)))
    assert any("a LEAK" in reading for reading in approaches(found)[0].privacy.readings)


def test_of_a_defence_the_strength_that_one_can_afford_is_shown(full):
    row = next(each for each in re.split("<tr", full) if "Split inference with dropping" in each)
    assert "dropping 0.5: 97.5 % of answers right (98.0 % without)" in row
    assert "dropping 0.9" not in row


def test_what_was_not_measured_is_said_with_the_command_that_would(tmp_path):
    made_results.identify(tmp_path)
    text = made(tmp_path)
    for command in ("evaluate robustness", "evaluate scale", "attack party", "bench query"):
        assert re.search(rf"not measured</span>[^\n]*<code>privedge {command} ", text), command
    assert "These results do not answer" in text


def test_every_experiment_has_its_section_and_nothing_else_is_missing(full):
    sections = (
        *("summary", "trust", "beside", "owners", "conditions", "scale", "fairness", "original"),
        *("parties", "inversion", "signals", "attributes", "disguising", "costs", "files"),
    )
    tags = Reading(full)
    assert [each["id"] for each in tags.of("section")] == list(sections)
    bare = [line for line in full.splitlines() if "not measured</span>. It is measured by" in line]
    assert bare == []


@pytest.mark.parametrize(
    "shown",
    [
        "1.7 standard errors above guessing at most",
        "images of 25.5 dB",
        "dropping 0.5 after relu2 (mnist) leaves images of 17.0 dB (25.5 dB without)",
        "rmt: 95.6 % of disguised images are recognised without the key",
        "bench, subspace32, 10 owners: 28 ms, 19 kB between the parties",
        "letters, online: 2.0 ms + 100 ms for every 10 owners (R² 1.000)",
        "gender read off 85.6 % (guessing: 51.9 %)",
        "bob taken for ana 4 times (40 %)",
        "AUC of 0.557",
        "In time and traffic, letters, 50 owners: 30 ms and 50 kB a question.",
        "growing cohorts: those of the fixed-point model in the clear in at least 99.00 %",
        "the worst thief, identity, wins 99.0 % of questions about others",
        "letters: 79.5 % macro recall undisturbed, 77.5 % at jpeg 20 and 76.5 % at blur 1.5",
        "macro recall 95.0 % with 5 owners and 50.0 % with 50 owners",
        "<td>31.0 %</td><td>77.0 %</td><td>55.0 %</td><td>2.0 %</td>",
        "<td>62.0 %</td><td>64.0 %</td>",
        "Published: 30000 steps of 128 images.",
        "<td>white-box</td><td>36.4 ± 0.3 dB</td><td>0.990</td><td>37.6 dB / 0.996</td>",
        "ecg, dense, 0.8 dropped, per-input</th><td>51 for 128</td><td>holds</td>",
    ],
)
def test_a_figure_of_the_rows_is_on_the_page(full, shown):
    assert shown in html.unescape(full)


def test_figures_have_captions_commands_seeds_and_json_and_tables_have_captions(full):
    figures = re.findall(r"<figure.*?</figure>", full, re.DOTALL)
    assert len(figures) >= 15
    for figure in figures:
        assert re.search(r"<figcaption><strong id=.*?</strong> \S", figure)
        assert "seeds: " in figure
        assert "<code>privedge" in figure or "command not stored" in figure
        document = re.search(r"<pre[^>]*>(.*?)</pre>", figure, re.DOTALL)
        assert document is not None
        assert json.loads(html.unescape(document[1])) != {}
    assert f"<code>{made_results.COMMAND}</code>" in full
    tables = re.findall(r"<table.*?</table>", full, re.DOTALL)
    assert tables and all(re.search(r"<caption[^>]*><span>\S", table) for table in tables)


def test_headings_go_down_one_step_at_a_time_and_ids_are_there_once(full):
    tags = Reading(full)
    levels = [int(tag[1]) for tag, _ in tags.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [name for _, attributes in tags.tags if (name := attributes.get("id"))]
    assert len(ids) == len(set(ids))
    targets = {str(each["href"])[1:] for each in tags.of("a")}
    assert targets <= set(ids)
    labels = [str(a["aria-labelledby"]) for _, a in tags.tags if "aria-labelledby" in a]
    assert {name for label in labels for name in label.split()} <= set(ids)


def test_the_page_names_nothing_outside_itself_and_runs_nothing(full):
    tags = Reading(full)
    assert tags.of("script", "link", "iframe", "object", "embed", "base", "form") == []
    pictures = [str(each["src"]) for each in tags.of("img")]
    assert len(pictures) == 2 and all(src.startswith("data:image/") for src in pictures)
    assert all(str(each["href"]).startswith("#") for each in tags.of("a", "use"))
    assert not re.search(r"url\(|@import|\son\w+=", full)
    (policy,) = [a for a in tags.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy["content"]).startswith("default-src 'none'")


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_markup_in_any_text_of_a_file_is_inert(tmp_path):
    folder = tmp_path / "<b>folder"
    row = made_results.identified(0, 0.8, 0.9, 0.3)
    row["per_owner"][0]["owner"] = row["preset"] = EVIL
    store = made_results.store
    store(folder / f"{EVIL[:8]}x.json", "identify", {"data": EVIL, "group": EVIL}, [row], EVIL)
    store(folder / "u.json", EVIL, {EVIL: EVIL}, [{EVIL: EVIL}])
    store(folder / "r.json", "robustness", {"data": EVIL}, [
        {"seed": 0, "disturbance": EVIL, "level": 1, "macro_recall": 0.5,
         "baselines": {EVIL: {"macro_recall": 0.1}}}
    ])  # fmt: skip
    evil = made_results.inversion(EVIL, EVIL, 1.0, 20.0, 0.9) | {"cut": EVIL}
    store(folder / "t.json", "attack table", {"data": EVIL}, [evil])
    (folder / "b.json").write_text(json.dumps({"uploads": [{EVIL: EVIL}]}))
    made_results.picture(folder / "<i>.png")
    raw = page.render(reader.read([folder]), EVIL).html.decode()
    tags = Reading(raw)
    assert tags.of("script") == [] and tags.of("b", "i") == []
    assert [each for each in tags.of("img") if each.get("src") == "x"] == []
    assert not any(name.startswith("on") for _, attributes in tags.tags for name in attributes)
    assert any("<script>alert(1)</script>" in word for word in tags.words)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def everything(tmp_path_factory) -> reader.Found:
    return reader.read([made_results.everything(tmp_path_factory.mktemp("any"))])


@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_any_value_in_place_of_a_figure_still_gives_a_page(data, everything):
    spoilt = []
    for source in everything.sources:
        rows = [dict(row) for row in source.rows]
        row = rows[data.draw(st.integers(0, len(rows) - 1))]
        row[data.draw(st.sampled_from(sorted(row)))] = data.draw(values)
        spoilt.append(replace(source, rows=rows))
    assert b"</html>" in page.render(reader.Found(tuple(spoilt)), "t").html


def plain_words(text: str) -> str:
    """Markdown without its marks, on one line."""
    return " ".join(re.sub(r"\*\*|\*|`|^> ?|^\| ?", "", text, flags=re.MULTILINE).split())


def test_the_trust_claim_is_word_for_word_that_of_the_threat_model():
    document = plain_words((ROOT / "docs" / "explanation" / "threat-model.md").read_text())
    claims = (trust.CLAIM, trust.OPERATORS, trust.SEMI_HONEST, trust.DEVIATES)
    cells = [cell for line in (trust.SEES_TITLES, *trust.SEES) for cell in line]
    assert [words for words in (*claims, *cells) if words not in document] == []


def test_tar_at_far_is_shown_with_its_interval_or_said_not_to_be_told(tmp_path):
    rate = {"share": 0.98, "low": 0.97, "high": 0.99, "margin": 0.7}
    told = {
        "asked": 200.0,
        "strangers": 500.0,
        "tar_at_far_01": rate,
        "tar_at_far_001": None,
        "tar_at_margin": None,
        "far_at_margin": rate | {"share": 0.008, "low": 0.002, "high": 0.03},
    }
    rows = [made_results.identified(seed, 0.8, 0.9, 0.3) | {"strangers": told} for seed in (0, 1)]
    made_results.store(tmp_path / "identify.json", "identify", made_results.IDENTIFY, rows)
    text = made(tmp_path)
    assert "98.00 % (97.00 % to 99.00 %) at 0.70" in text
    assert "0.80 % (0.20 % to 3.00 %) at 0.70" in text
    assert "too few strangers to tell" in text
    found = reader.read([tmp_path])
    (said,) = [each for each in summary.answers(found) if "strangers" in each.question]
    first, second = (line.replace("\N{NO-BREAK SPACE}", " ") for line in said.lines)
    assert "TAR 98.00 % (97.00 % to 99.00 %) at FAR 1 %, 500 images of strangers" in first
    assert "FAR 0.80 % (0.20 % to 3.00 %) at the margin 0.70" in second
    assert set(said.lines) < set(approaches(found)[0].utility.readings)
    # Rows from before have no such figures, and no such table.
    (tmp_path / "identify.json").unlink()
    made_results.identify(tmp_path)
    assert "TAR" not in made(tmp_path)


def test_what_partitioning_leaves_is_shown_seed_by_seed_beside_what_is_reconstructed(tmp_path):
    rows = [
        {"defence": "balanced-partitioning", "strength": 0.65, "seed": seed, "images": 100,
         "task_accuracy": 0.7, "attacker": "mlp", "attacker_accuracy": 0.5 + above,
         "attacker_accuracy_hindsight": 0.7, "floor_accuracy": 0.5, "majority": 0.5,
         "psnr_db": 13.2, "ssim": 0.17, "mean_image_psnr_db": 12.7, "mean_image_ssim": 0.1}
        for seed, above in enumerate((0.09, -0.01, 0.04))
    ]  # fmt: skip
    about = {"data": "faces.npz", "private": "gender", "network": "face-guess", "cut": "guess"}
    made_results.store(tmp_path / "part.json", "partitioning", about, rows)
    text = made(tmp_path)
    assert "<td>13.2 dB</td><td>0.170</td><td>12.7 dB</td><td>-1.0 4.0 9.0</td>" in text
