"""Folders may have any name; owners and cohorts get legal ones that differ."""

import unicodedata

import pytest

from privedge.errors import ConfigError
from privedge.identity.names import check_cohort, cohort_name, owner_names
from privedge.identity.roles import NAME


@pytest.mark.parametrize(
    ("folder", "owner"),
    [
        ("ana", "ana"),
        ("Ana María", "ana-maria"),
        ("Łukasz Øst", "lukasz-ost"),
        ("Weiß & Söhne", "weiss-sohne"),
        ("Jose\u0301", "jose"),  # as macOS writes it: a letter, then its accent
        ("-ana-", "ana"),
        ("Ana", "Ana"),
        ("李明", "owner-aa227102"),
        ("x" * 80, "x" * 64),
    ],
)
def test_a_folder_of_any_name_gets_an_owners_name(folder, owner):
    assert owner_names([folder]) == {folder: owner}


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (["Ána", "ana"], "ana"),
        (["ana", "Ána"], "ana"),
        (["Ana María", "ana maria"], "ana-maria"),
        (["e" * 64, "é" * 64], "e" * 64),
        (["ana", "ben", "(ben)"], "ben"),
    ],
)
def test_folders_that_would_be_one_owner_are_refused_in_a_line_that_names_both(folders, name):
    with pytest.raises(ConfigError) as refusal:
        owner_names(folders)
    *_, first, second = folders
    said = f"folders or labels {first!r} and {second!r}: both would be the owner {name}; rename one"
    assert str(refusal.value) == said


@pytest.mark.parametrize("folders", [["Ana", "ana"], ["ANA", "Ána"], ["ben", "BEN", "ana"]])
def test_names_that_differ_in_case_only_are_refused_as_their_files_may_be_one(folders):
    with pytest.raises(ConfigError, match="upper and lower case do not count; rename one") as why:
        owner_names(folders)
    assert repr(folders[0]) in str(why.value) and repr(folders[1]) in str(why.value)


@pytest.mark.parametrize(
    "folder",
    ["unknown", "Unknown", "UNKNÖWN", "\uff55\uff4e\uff4b\uff4e\uff4f\uff57\uff4e", " unknown "],
)
def test_no_folder_makes_an_owner_with_the_name_of_the_answer_for_strangers(folder):
    with pytest.raises(ConfigError, match="answer for strangers; rename it") as why:
        owner_names(["ana", folder])
    assert repr(folder) in str(why.value)
    assert owner_names(["unknown-2", "unknowns"]) == {n: n for n in ("unknown-2", "unknowns")}


def test_a_name_stays_the_same_whatever_folders_come_and_go():
    folders = ["李明", "王芳", "Zoë", "ana", "写真", "ㄱ"]
    names = owner_names(folders)
    assert list(names) == folders and len(set(names.values())) == len(folders)
    assert all(NAME.fullmatch(name) for name in names.values())
    for folder in folders:
        assert owner_names([folder]) == {folder: names[folder]}
    composed, apart = "한글", unicodedata.normalize("NFD", "한글")
    assert [*owner_names([composed]).values()] == [*owner_names([apart]).values()]


@pytest.mark.parametrize(
    ("folder", "cohort"),
    [
        ("people", "people"),
        ("My Photos (2024)", "my-photos-2024"),
        ("Fotos de María.v2", "fotos-de-maria-v2"),
        ("写真", "pictures"),
        ("", "pictures"),
        ("A" * 80, "a" * 64),
    ],
)
def test_a_cohort_is_named_like_its_folder(folder, cohort):
    assert cohort_name(folder) == cohort
    check_cohort(cohort)


@pytest.mark.parametrize("name", ["", "People", "a b", "-a", "a" * 65, "ä"])
def test_a_cohort_name_that_parties_refuse_is_refused_before_anything_is_done(name):
    with pytest.raises(ConfigError, match="lower-case letters"):
        check_cohort(name)
