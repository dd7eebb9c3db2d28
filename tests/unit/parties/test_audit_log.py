"""parties/party/audit: a log in which nothing can be changed unnoticed."""

import json
import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_model_service import settings as party_settings

from parties.party.audit import reading
from parties.party.audit.chain import EMPTY, Head, entries, line_after
from parties.party.audit.files import FOLDER, AuditFiles, files_of, lines_of
from parties.party.audit.heads import PeerHeads, SaidHead
from parties.party.audit.log import AuditLog
from parties.party.upkeep.accept import accept_peer_log
from privedge.errors import ConfigError, Unreachable

EVENTS = [
    ("start", {}),
    ("upload", {"model": "a" * 32, "owner": "ana", "bytes": 4711}),
    ("queries", {"client": "carla", "cohort": "digits", "answered": 3, "images": 17}),
    ("deletion", {"model": "a" * 32, "by": "spiffe://privedge/owner/ana"}),
    ("stop", {}),
]


def written(events=EVENTS):
    head, lines = EMPTY, []
    for event, fields in events:
        line, head = line_after(head, {"event": event, **fields})
        lines.append(line)
    return lines


def found(raw):
    return [fault for entry in entries(raw.splitlines(keepends=True)) for fault in entry.faults]


LINES = written()
WHOLE = b"".join(LINES)


def test_w46_a_log_that_nobody_touched_is_whole():
    assert found(WHOLE) == []
    assert [entry.head.number for entry in entries(LINES)] == [1, 2, 3, 4, 5]


def test_w46_every_byte_that_was_changed_is_found():
    for at, byte in enumerate(WHOLE):
        for other in {byte ^ 1, byte ^ 0x20, ord("\n"), ord("0"), 0} - {byte}:
            assert found(WHOLE[:at] + bytes([other]) + WHOLE[at + 1 :]), at


@given(at=st.integers(0, len(WHOLE) - 1), other=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_w46_any_byte_that_became_any_other_is_found(at, other):
    changed = WHOLE[:at] + bytes([other]) + WHOLE[at + 1 :]
    assert bool(found(changed)) == (changed != WHOLE)


@given(
    count=st.integers(2, 30),
    start=st.integers(0, 28),
    length=st.integers(1, 5),
)
@settings(max_examples=100, deadline=None)
def test_w46_lines_that_were_removed_are_named_unless_they_were_the_last(count, start, length):
    lines = written([("upload", {"model": str(number)}) for number in range(count)])
    left = lines[:start] + lines[start + length :]
    if start + length < count:
        last = start + length
        named = f"line {last} is" if length == 1 else f"lines {start + 1} to {last} are"
        assert found(b"".join(left)) == [f"{named} missing"]
    else:
        assert found(b"".join(left)) == []


@given(st.permutations(range(5)))
def test_w46_lines_in_another_order_are_found(order):
    moved = b"".join(LINES[number] for number in order)
    assert bool(found(moved)) == (moved != WHOLE)


def test_w46_the_changed_line_is_named():
    changed = [*LINES]
    changed[2] = changed[2].replace(b"17", b"11")
    assert found(b"".join(changed)) == ["line 3 was changed, or the one before it"]


# --- Files ----------------------------------------------------------------------------------------


def opened(folder, max_bytes=1 << 20, make_room=lambda: False, tally_s=3600.0):
    return AuditLog(AuditFiles(folder, max_bytes, make_room), tally_s)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


def events_in(folder):
    return [json.loads(line)["event"] for line in lines_of(folder)]


def faults_in(folder, peer_heads=None, first=1):
    return list(reading.verify(folder, peer_heads, first))


def test_gameday_a_log_that_was_emptied_is_not_whole(folder):
    log = opened(folder)
    log.start()
    log.stop()
    (file,) = files_of(folder)
    file.write_bytes(b"")
    (fault,) = faults_in(folder)
    assert "the log is empty" in fault


def test_w46_the_chain_goes_on_over_restarts_and_files(folder):
    for _ in range(3):
        log = opened(folder, max_bytes=300)
        log.start()
        for number in range(5):
            log.record("upload", model=str(number))
        log.stop()
    assert len(files_of(folder)) > 3
    assert faults_in(folder) == []
    assert events_in(folder) == ["start", *["upload"] * 5, "stop"] * 3
    second = files_of(folder)[1]
    assert int(second.stem) == json.loads(second.read_bytes().splitlines()[0])["number"]
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files_of(folder))
    files_of(folder)[0].unlink()
    kept = int(second.stem)
    assert faults_in(folder)[0].endswith("missing")
    assert faults_in(folder, first=kept) == []


def test_a_line_that_a_crash_cut_off_is_none(folder):
    log = opened(folder)
    log.record("upload", model="one")
    (file,) = files_of(folder)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"number":2,"time":"20')
    again = opened(folder)
    again.record("upload", model="two")
    assert faults_in(folder) == []
    assert file.read_bytes().startswith(whole)
    assert events_in(folder) == ["upload"] * 2


def test_a_damaged_end_is_not_continued(folder):
    log = opened(folder)
    log.record("upload", model="one")
    (file,) = files_of(folder)
    file.write_bytes(file.read_bytes().replace(b'"sha256"', b'"sha257"'))
    with pytest.raises(ConfigError, match="keep the folder as it is under another name"):
        opened(folder)


def test_what_happens_often_is_counted_and_written_once(folder):
    log = opened(folder)
    log.start()

    def ask(client):
        for _ in range(1000):
            log.count("queries", {"client": client, "cohort": "digits"}, answered=1, images=3)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("ana", "ben", "ana")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.stop()
    totals = {"ana": 0, "ben": 0}
    for line in reading.shown(folder, event="queries", who=None, since=None):
        assert line["images"] == 3 * line["answered"]
        totals[line["client"]] += line["answered"]
    assert totals == {"ana": 2000, "ben": 1000}
    assert len(events_in(folder)) < 10


def test_on_a_full_disk_lines_wait_and_none_is_lost(folder, monkeypatch):
    files = AuditFiles(folder, 1 << 20, lambda: False)
    log = AuditLog(files, 3600.0)
    log.record("upload", model="one")
    assert log.fault() == ""

    def full(_raw, _first):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(files, "_append", full)
        log.record("upload", model="two")
        assert "free some space" in log.fault()
    log.record("upload", model="three")
    assert log.fault() == ""
    assert faults_in(folder) == []
    assert [json.loads(line)["model"] for line in lines_of(folder)] == ["one", "two", "three"]


def test_a_line_that_cannot_be_taken_back_at_once_is_taken_back_before_the_next(
    folder, monkeypatch
):
    log = opened(folder)
    log.record("upload", model="one")
    real = os.ftruncate

    def half(file, raw):
        write(file, raw[:10])
        raise OSError(5, "Input/output error")

    def fails(*_):
        raise OSError(5, "Input/output error")

    write = os.write
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", half)
        # The second truncation comes after what the first write has left.
        calls = iter([real, fails])
        broken.setattr(os, "ftruncate", lambda *given: next(calls)(*given))
        log.record("upload", model="two")
        assert "free some space" in log.fault()
    log.record("upload", model="three")
    assert faults_in(folder) == []
    assert [json.loads(line)["model"] for line in lines_of(folder)] == ["one", "two", "three"]


@pytest.mark.parametrize(
    "damage",
    [
        b'X"event":"peer head"\n',
        b'["event":"peer head"' + b"[" * 200_000 + b"\n",
        b'{"event":"peer head"}\n',
        b'{"event":"peer head","time":"","peer_number":"x","peer_sha256":""}\n',
        b'{"event":"peer head","time":"","peer_number":[],"peer_sha256":""}\n',
    ],
)
def test_damaged_heads_are_counted_in_one_line_and_the_others_are_read(sides, damage):
    zero, one = sides
    for number in range(3):
        zero.log.record("upload", model=str(number))
        zero.heads.exchange(one.answer)
    (file,) = files_of(one.folder)
    whole = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([whole[0], damage, *whole[2:]]))
    shown = []
    with pytest.raises(ConfigError, match="1 recorded heads are damaged; run"):
        for line in reading.heads(one.folder):
            shown.append(json.loads(line)["number"])
    assert shown == [1, 3]
    assert PeerHeads(one.log, one.folder, 0).fault() == ""
    assert faults_in(one.folder)


def test_show_finds_lines_by_event_name_and_time(folder):
    log = opened(folder)
    log.record("upload", model="m1", owner="ana")
    log.record("deletion", model="m1", by="ana")
    log.record("upload", model="m2", owner="ben")

    def models(**wanted):
        wanted = {"event": None, "who": None, "since": None, **wanted}
        return [line["model"] for line in reading.shown(folder, **wanted)]

    assert models(event="upload") == ["m1", "m2"]
    assert models(who="ana") == ["m1", "m1"]
    assert models(since=datetime.now(UTC) + timedelta(hours=1)) == []
    assert len(models(since=datetime.now(UTC) - timedelta(hours=1))) == 3
    (text,) = (
        reading.as_text(line)
        for line in reading.shown(folder, event="deletion", who=None, since=None)
    )
    assert "deletion  model=m1  by=ana" in text


# --- Two parties ----------------------------------------------------------------------------------


class Side:
    """One party's log, and what it knows of the other's."""

    def __init__(self, folder, party):
        self.folder = folder / str(party) / "audit"
        self.folder.parent.mkdir(exist_ok=True)
        self.log = opened(self.folder)
        self.heads = PeerHeads(self.log, self.folder, 1 - party)

    def answer(self, said):
        """Party 1's side of an exchange."""
        self.heads.hear(said)
        return self.heads.mine


@pytest.fixture
def sides(tmp_path):
    return Side(tmp_path, 0), Side(tmp_path, 1)


def test_w46_a_log_that_was_cut_or_written_anew_does_not_fit_the_other_partys(sides, tmp_path):
    zero, one = sides
    for number in range(4):
        zero.log.record("upload", model=str(number))
        zero.heads.exchange(one.answer)
    heads = tmp_path / "heads.jsonl"
    heads.write_text("\n".join(reading.heads(one.folder)))
    assert faults_in(zero.folder, heads) == []
    (file,) = files_of(zero.folder)
    lines = file.read_bytes().splitlines(keepends=True)

    file.write_bytes(b"".join(lines[:-2]))
    assert faults_in(zero.folder) == []
    (fault,) = faults_in(zero.folder, heads)
    assert fault.startswith(f"the log ends with line {len(lines) - 2}; ")

    head, anew = EMPTY, []
    for line in lines:
        fields = {k: v for k, v in json.loads(line).items() if k not in ("number", "sha256")}
        fields |= {"model": "2b"} if fields.get("model") == "2" else {}
        line, head = line_after(head, fields)
        anew.append(line)
    file.write_bytes(b"".join(anew))
    assert faults_in(zero.folder) == []
    assert "is another one than the other party has recorded" in faults_in(zero.folder, heads)[0]


def test_w46_the_other_partys_shorter_log_is_noticed_at_once_and_after_a_restart(sides, tmp_path):
    zero, one = sides
    for number in range(4):
        one.log.record("upload", model=str(number))
    zero.heads.exchange(one.answer)
    again = PeerHeads(zero.log, zero.folder, 1)
    assert again.fault() == ""
    again.exchange(lambda said: SaidHead(Head(2, "0" * 64), 2))
    fault = "the log of party 1 has 2 lines, and had 4 before"
    assert again.fault() == fault
    again.exchange(lambda said: SaidHead(Head(7, "1" * 64), 7))
    assert again.fault() == fault
    assert PeerHeads(zero.log, zero.folder, 1).fault() == fault


def test_w46_an_operator_who_knows_why_ends_the_fault_and_the_log_says_so(tmp_path):
    config = party_settings(tmp_path, 0)
    folder = config.state / FOLDER
    config.state.mkdir(parents=True, mode=0o700)
    log = opened(folder)
    heads = PeerHeads(log, folder, 1)
    for number in (4, 2):
        heads.hear(SaidHead(Head(number, "0" * 64), number))
    assert heads.fault()
    accept_peer_log(config)
    heads = PeerHeads(opened(folder), folder, 1)
    assert heads.fault() == "" and faults_in(folder) == []
    heads.hear(SaidHead(Head(1, "0" * 64), 9))
    assert heads.fault() == "the log of party 1 has 1 lines, and had 2 before"


def test_w46_another_line_of_the_same_number_is_noticed_at_once_and_after_a_restart(sides):
    zero, one = sides
    one.log.record("upload", model="one")
    zero.heads.exchange(one.answer)
    zero.heads.exchange(lambda said: SaidHead(Head(1, "0" * 64), 1))
    fault = "the log of party 1 has another line 1 than before"
    assert zero.heads.fault() == fault
    assert PeerHeads(zero.log, zero.folder, 1).fault() == fault


@pytest.mark.parametrize("kept", range(4))
def test_w46_a_log_written_anew_beside_the_other_party_is_found(sides, tmp_path, kept):
    """Its heads were recorded before and after, so the later ones fit."""
    zero, one = sides
    for number in range(4):
        zero.log.record("upload", model=str(number))
        zero.heads.exchange(one.answer)
    (file,) = files_of(zero.folder)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:kept]))
    zero.log = opened(zero.folder)
    zero.heads = PeerHeads(zero.log, zero.folder, 1)
    for number in range(8):
        zero.log.record("upload", model=f"other {number}")
        zero.heads.exchange(one.answer)
    heads = tmp_path / "heads.jsonl"
    heads.write_text("\n".join(reading.heads(one.folder)))
    assert faults_in(zero.folder) == []
    found = faults_in(zero.folder, heads)
    assert any("lines, and only" in fault for fault in found) == (kept < 3)
    assert any("is another one than the other party has recorded" in fault for fault in found)


def test_heads_alone_are_no_news(sides):
    zero, one = sides
    zero.log.record("upload", model="one")
    one.log.record("upload", model="one")
    for _ in range(10):
        zero.heads.exchange(one.answer)
    assert events_in(zero.folder) == ["upload", "peer head"]
    assert events_in(one.folder) == ["upload", "peer head"]


def test_a_party_that_is_away_is_no_fault(sides):
    def away(_said):
        raise Unreachable("party 1: cannot be reached")

    zero, _ = sides
    zero.heads.exchange(away)
    assert zero.heads.fault() == ""
    assert events_in(zero.folder) == []
