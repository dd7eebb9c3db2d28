"""A query without a bundle makes its tuples itself, or is told when to come again."""

from pathlib import Path

import pytest

from parties.dealer_trust import DealerTrust
from parties.mpc.dealing import SessionId
from parties.mpc.twoparty.learned import KeptWeights
from parties.worker.cancellation import Cancellation
from parties.worker.live_times import LiveTimes
from parties.worker.meeting import Agreement, Met
from parties.worker.preprocessing.pool import Pool
from parties.worker.sessions import Sessions
from parties.worker.snapshot_cache import Snapshot
from parties.worker.task import Kind, Method, Task
from privedge.errors import Busy
from privedge.rpc.deadline import Deadline
from tests.unit.mpc.models import SPECS

_SPEC = next(spec for spec in SPECS if spec.name == "subspace")
_SNAPSHOT = Snapshot("snapshot", "c", _SPEC, 1.0, 0.0, ())
_KIND = Kind("snapshot", (1, *_SPEC.input_shape))
_TAKES_S = 1800.0


class _Met:
    """A meeting in which the other worker is about to do the same. It says no more."""

    def __init__(self) -> None:
        self.cut_off = False

    def open(
        self, run: SessionId, agreement: Agreement, deadline: Deadline, cancellation: Cancellation
    ) -> Met:
        cancellation.add(self._cut)
        mine = agreement.greeting(run, agreement.pick())
        return Met(self, mine, mine)  # type: ignore[arg-type]  # a stream that nobody uses

    def give_up(self, run: SessionId) -> None:
        raise AssertionError

    def _cut(self) -> None:
        self.cut_off = True


def test_a_query_with_too_little_time_is_told_when_to_come_again(tmp_path: Path) -> None:
    meeting = _Met()
    sessions = Sessions(
        0, KeptWeights(1 << 30), meeting, Pool(1), keep=1, trust=DealerTrust(tmp_path)
    )
    sessions._live_times.note((_KIND, False), _TAKES_S, learning_s=0, learned=0)
    task = Task.of_kind(_KIND, _SNAPSHOT, Method("fused", "one-unit", "two-party"))
    begun = sessions.open(SessionId(b"run"), task, Deadline.after(_TAKES_S / 2), Cancellation())
    with pytest.raises(Busy, match="no randomness is prepared") as refused, begun:
        pass
    assert refused.value.retry_after_s == _TAKES_S
    assert meeting.cut_off


def test_seconds_spent_on_weights_count_only_as_far_as_weights_are_missing() -> None:
    times: LiveTimes[str] = LiveTimes(2)
    assert times.expected_s("first", missing=1000) == 0
    times.note("first", 10, learning_s=8, learned=4)
    assert times.expected_s("first", missing=0) == 2
    # What learning takes is known of all kinds.
    times.note("second", 3, learning_s=0, learned=0)
    assert times.expected_s("second", missing=1) == 5
    times.note("third", 1, learning_s=0, learned=0)
    assert times.expected_s("first", missing=1000) == 0
