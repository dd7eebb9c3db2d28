"""Folders may have any name; owners and cohorts get legal ones that differ."""

import pytest

from privedge.errors import ConfigError
from privedge.identity.roles import NAME
from privedge.local.names import check_cohort, cohort_name, owner_names


@pytest.mark.parametrize(
    ("folder", "owner"),
    [
        ("ana", "ana"),
        ("Ana María", "Ana-Maria"),
        ("Łukasz Øst", "Lukasz-Ost"),
        ("Weiß & Söhne", "Weiss-Sohne"),
        ("Jose\u0301", "Jose"),  # as macOS writes it: a letter, then its accent
        ("-ana-", "ana"),
        ("李明", "owner"),
        ("x" * 80, "x" * 64),
    ],
)
def test_a_folder_of_any_name_gets_an_owners_name(folder, owner):
    assert owner_names([folder]) == {folder: owner}


def test_no_two_folders_get_one_name_and_a_legal_name_is_kept():
    folders = ["Ána", "ana", "Aná", "ana-2", "李明", "王芳", "é" * 64, "e" * 64]
    names = owner_names(folders)
    assert list(names) == folders
    assert names["ana"] == "ana" and names["ana-2"] == "ana-2" and names["e" * 64] == "e" * 64
    assert len({name.casefold() for name in names.values()}) == len(folders)
    assert all(NAME.fullmatch(name) for name in names.values())


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
