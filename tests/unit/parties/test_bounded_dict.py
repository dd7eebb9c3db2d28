"""The dictionary keeps its newest entries, and no more than its limit."""

from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.bounded_dict import BoundedDict

KEYS = st.integers(0, 7)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS),
        st.tuples(st.just("used"), KEYS),
        st.tuples(st.just("drop"), KEYS),
        st.tuples(st.just("shrink"), KEYS),
    ),
    max_size=40,
)


@given(limit=st.integers(1, 5), steps=STEPS)
def test_it_holds_what_an_ordered_dict_kept_short_would_hold(limit, steps):
    newest, expected = BoundedDict(limit), OrderedDict()
    for number, (step, key) in enumerate(steps):
        size = limit
        if step == "set":
            newest[key] = expected[key] = number
            expected.move_to_end(key)
        elif step == "shrink":
            size = min(key, limit)
            newest.shrink(key)
        elif key in expected:
            assert key in newest
            if step == "drop":
                del newest[key], expected[key]
            else:
                assert newest.used(key) == expected[key]
                expected.move_to_end(key)
        while len(expected) > size:
            expected.popitem(last=False)
        assert list(newest.items()) == list(expected.items())
        assert len(newest) == len(expected) <= limit


def test_reading_an_entry_does_not_keep_it_longer():
    newest = BoundedDict(2)
    newest["a"], newest["b"] = 1, 2
    assert newest["a"] == newest.get("a") == 1
    newest["c"] = 3
    assert list(newest) == ["b", "c"]


@pytest.mark.parametrize("look", [lambda it: it["a"], lambda it: it.used("a")])
def test_what_was_forgotten_is_a_key_error(look):
    newest = BoundedDict(1)
    newest["a"], newest["b"] = 1, 2
    with pytest.raises(KeyError):
        look(newest)


def test_it_shows_nothing_of_what_it_holds():
    newest = BoundedDict(1)
    newest["a key that hides"] = b"a seed that hides"
    assert "that hides" not in repr(newest) + str(newest)
