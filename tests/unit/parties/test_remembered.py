"""parties/remembered.py: the newest ids are known, and the oldest are forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from parties.remembered import Remembered


@given(limit=st.integers(1, 5), ids=st.lists(st.integers(0, 9), max_size=60))
def test_the_newest_are_remembered_and_never_more_than_twice_as_many(limit, ids):
    remembered, order = Remembered(limit), []
    for number in ids:
        used = bytes([number])
        if used not in remembered:
            remembered.add(used)
            order.append(used)
        assert all(each in remembered for each in order[-limit:])
        known = [each for each in map(bytes, zip(range(10))) if each in remembered]
        assert len(known) <= 2 * limit
        assert set(known) <= set(order)
