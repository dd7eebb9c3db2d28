"""W-43: both parties get new shares of the same models, and old copies of either are worthless.

Both parties in one process, on real folders. A party that dies is a folder that is opened again.
"""

import errno
import json
import shutil
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
from test_model_service import ANA, BEN, COHORT, SPEC, Parties, settings
from test_shares_at_rest import EncryptedParties, with_keys

from parties.at_rest.zero_sharing import SEED_BYTES, ZeroSharing, new_seed
from parties.party.audit.files import lines_of
from parties.party.models import migrations, refreshes
from parties.party.models.cohorts import ModelRef
from parties.party.models.disk import Disk
from parties.party.models.refresher import Refresher
from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles
from parties.party.upkeep import keys
from parties.party.upkeep.adopt import Wish, adopt
from parties.party.upkeep.backup import backup, restore
from parties.party.upkeep.verify import verify, verify_backup
from privedge.errors import (
    Busy,
    DeadlineExceeded,
    DiskFull,
    ManifestMismatch,
    NotAllowed,
    Restarting,
    ShareError,
    Unreachable,
)
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)
from privedge.sharing.ring import from_bytes

# Chi-square of bytes against uniform ones has mean 255 and standard deviation 22.6.
UNIFORM_BELOW = 450


class Died(BaseException):
    """The process ends here."""


def a_model(owner=ANA):
    """Headers, both shares and the plaintext (int64 words) of a model with small weights."""
    rng = np.random.default_rng(7)
    entries, parts, plain, salts = [], ([], []), [], (new_salt(), new_salt())
    for name, shape in SPEC.parameters().items():
        words = rng.integers(0, 1 << 16, size=shape).astype(np.uint64)
        mask = np.frombuffer(new_seed() * (words.nbytes // 32 + 1), np.uint64)[: words.size]
        shares = mask.tobytes(), (words.reshape(-1) - mask).tobytes()
        committed = [commitment(salt, name) for salt in salts]
        for each, share in zip(committed, shares, strict=True):
            each.update(share)
        entries.append(TensorEntry(name, shape, tuple(each.hexdigest() for each in committed)))
        for part, share in zip(parts, shares, strict=True):
            part.append(share)
        plain.append(words.reshape(-1))
    manifest = ModelManifest(new_model_id(), COHORT, owner.name, SPEC.digest(), tuple(entries))
    headers = tuple(UploadHeader(manifest, salt) for salt in salts)
    return headers, tuple(map(b"".join, parts)), np.concatenate(plain)


def activate(parties, owner=ANA):
    """The id of an active model, and its plaintext."""
    headers, raw, plain = a_model(owner)
    for models, header, share in zip((parties.leader, parties.follower), headers, raw, strict=True):
        models.upload(header, owner, [share])
    parties.leader.activate(headers[0].manifest.model_id, owner)
    return headers[0].manifest.model_id, plain


def opened(folder, stack, kind=Parties):
    parties = kind(folder, stack)
    parties.meet()
    return parties


@pytest.fixture
def parties(tmp_path):
    with ExitStack() as stack:
        yield opened(tmp_path, stack)


def share(parties, index, model_id):
    """What a party keeps, decrypted: uint64 words."""
    models = (parties.leader, parties.follower)[index]
    files, row = models._files, models._registry.get(model_id)
    with files.path(model_id).open("rb", buffering=0) as file:
        raw = b"".join(files.vault.pieces(file, row.manifest, row.version))
    return np.frombuffer(raw, "<u8")


def total(parties, model_id):
    return share(parties, 0, model_id) + share(parties, 1, model_id)


def chi_square(words):
    counts = Counter(words.tobytes())
    expected = words.nbytes / 256
    return sum((counts[byte] - expected) ** 2 / expected for byte in range(256))


def whole(parties, models):
    """Both parties have the same snapshot, of sound shares that add up to these models."""
    assert parties.agree
    for each in (parties.leader, parties.follower):
        each.quarantine.suspect(each.in_use())
        assert not each.quarantine.mine
    for model_id, plain in models:
        assert np.array_equal(total(parties, model_id), plain)


def test_the_documented_version_of_a_registry_is_the_newest():
    assert migrations.newest() == migrations.SCHEMA_VERSION


# --- The sharing of zero --------------------------------------------------------------------------


def test_both_parties_make_the_same_sharing_of_zero_and_no_two_are_alike():
    words = np.arange(100, dtype=np.uint64).tobytes()
    zero = ZeroSharing(new_seed(), "a" * 32, "d" * 64)
    mine, theirs = (zero.stream(party, "w") for party in (0, 1))
    first = np.frombuffer(mine.refreshed(words), np.uint64)
    second = np.frombuffer(theirs.refreshed(words), np.uint64)
    assert np.array_equal(first + second, 2 * np.arange(100, dtype=np.uint64))
    changed = [
        ZeroSharing(new_seed(), "a" * 32, "d" * 64),
        ZeroSharing(zero.seed, "b" * 32, "d" * 64),
        ZeroSharing(zero.seed, "a" * 32, "e" * 64),
        ZeroSharing(zero.seed, "a" * 32, "d" * 64, before="c" * 32),
    ]
    masks = {bytes(each.stream(0, "w").refreshed(words)) for each in (zero, *changed)}
    masks.add(bytes(zero.stream(0, "v").refreshed(words)))
    assert len(masks) == 6
    assert len({each.version for each in (zero, *changed)}) == 5
    assert zero.seed.hex() not in repr(zero) and repr(zero.seed) not in repr(zero)


def test_a_stream_is_the_same_however_it_is_cut():
    zero = ZeroSharing(new_seed(), "a" * 32, "d" * 64)
    words = bytes(800)
    cut, at_once = zero.stream(0, "w"), zero.stream(0, "w")
    parts = [bytes(cut.refreshed(words[start : start + 80])) for start in range(0, 800, 80)]
    assert b"".join(parts) == bytes(at_once.refreshed(words))


def test_narrow_words_are_refreshed_modulo_their_bytes_wherever_they_are_cut():
    zero = ZeroSharing(new_seed(), "a" * 32, "d" * 64)
    shares = [np.frombuffer(new_seed() * 30, np.uint8).tobytes() for _ in range(2)]

    def refreshed_by(party, cuts):
        stream = zero.stream(party, "w", 3)
        parts = zip([0, *cuts], [*cuts, len(shares[party])], strict=True)
        return b"".join(bytes(stream.refreshed(shares[party][i:j])) for i, j in parts)

    first, second = (refreshed_by(party, (1, 2, 400, 401, 700)) for party in (0, 1))
    assert first == refreshed_by(0, ()) != shares[0]
    before = [from_bytes(share, (320,), 24) for share in shares]
    after = [from_bytes(share, (320,), 24) for share in (first, second)]
    assert np.array_equal(sum(before) & np.uint64(0xFFFFFF), sum(after) & np.uint64(0xFFFFFF))
    assert not (after[0] == before[0]).any()


# --- A refresh ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypted", [False, True])
def test_w43_an_old_share_and_a_new_one_are_noise_and_two_new_ones_are_the_model(
    tmp_path, encrypted
):
    if encrypted:
        with_keys(tmp_path)
    with ExitStack() as stack:
        parties = opened(tmp_path, stack, EncryptedParties if encrypted else Parties)
        models = [activate(parties, owner) for owner in (ANA, BEN)]
        model_id, plain = models[0]
        old = [share(parties, index, model_id).copy() for index in (0, 1)]
        before = parties.leader.snapshot(COHORT).id
        assert parties.leader.refresh(COHORT) == 2
        assert parties.leader.snapshot(COHORT).id != before
        whole(parties, models)
        new = [share(parties, index, model_id) for index in (0, 1)]
        assert chi_square(plain) > 10 * UNIFORM_BELOW
        for mixed in (old[0] + new[1], new[0] + old[1], new[0] - old[0], new[0], new[1]):
            assert chi_square(mixed) < UNIFORM_BELOW
        first = new[0] - old[0]
        assert parties.leader.refresh() == 2  # and again, from another seed
        whole(parties, models)
        again = share(parties, 0, model_id) - new[0]
        assert chi_square(again - first) < UNIFORM_BELOW


def test_w43_no_old_share_and_no_old_salt_is_left_on_either_disk(tmp_path):
    """An old salt and the manifest would confirm a guess of the model to a thief."""
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, disk={"reserve_mib": 0})
        parties.meet()
        headers, raw, _ = a_model()
        for models, header, each in zip(
            (parties.leader, parties.follower), headers, raw, strict=True
        ):
            models.upload(header, ANA, [each])
        parties.leader.activate(headers[0].manifest.model_id, ANA)
        parties.leader.refresh()
        for index in (0, 1):
            state = tmp_path / f"party{index}"
            found = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
            assert headers[index].salt not in found
            assert not any(raw[index][at : at + 8] in found for at in range(0, 4000, 80))
            assert list((state / "trash").iterdir()) == []
            assert [path.suffix for path in (state / "shares").iterdir()] == [".words"]


def test_a_model_that_is_not_active_keeps_its_share_and_its_snapshot_id_has_no_version(parties):
    waiting = parties.uploaded(BEN)
    model_id, plain = activate(parties)
    kept = share(parties, 0, waiting)
    assert parties.leader.refresh() == 1
    assert np.array_equal(share(parties, 0, waiting), kept)
    parties.leader.activate(waiting, BEN)
    assert parties.leader.refresh() == 2
    whole(parties, [(model_id, plain)])


def test_a_replaced_or_deleted_model_takes_its_refreshed_shares_along(parties):
    (first, _), other = activate(parties), activate(parties, BEN)
    parties.leader.refresh()
    second = activate(parties)
    whole(parties, [second, other])
    for models in (parties.leader, parties.follower):
        models.delete(first, ANA)
        models.delete(second[0], ANA)
        assert models._files.there() == {other[0]}
    whole(parties, [other])


def test_a_model_that_party_1_takes_back_from_its_trash_still_fits(parties):
    model = activate(parties)
    parties.leader.refresh()
    ref = parties.leader.snapshot(COHORT).models[0]
    parties.follower.follow(COHORT, [])
    parties.follower.follow(COHORT, [ModelRef(ref.model_id, ref.manifest_digest, ref.version)])
    whole(parties, [model])


def test_only_party_0_refreshes_and_only_once_at_a_time(parties, monkeypatch):
    activate(parties)
    with pytest.raises(NotAllowed):
        parties.follower.refresh()
    refused = []

    def meanwhile(ref, seed, said):
        with pytest.raises(Busy) as busy:
            parties.leader.refresh()
        refused.append(busy)
        raise Unreachable("party 1: cannot be reached")

    monkeypatch.setattr(parties.line, "prepare_refresh", meanwhile)
    with pytest.raises(Unreachable):
        parties.leader.refresh()
    assert refused


def test_party_1_refreshes_nothing_but_what_is_active_there(parties):
    model_id, _ = activate(parties)
    row = parties.follower._registry.get(model_id)
    good = ModelRef(model_id, row.manifest_digest)
    with pytest.raises(ShareError):
        parties.follower.prepare_refresh(good, bytes(SEED_BYTES - 1))
    for bad in (
        ModelRef(new_model_id(), row.manifest_digest),
        ModelRef(model_id, "0" * 64),
        ModelRef(model_id, row.manifest_digest, "a" * 32),
        ModelRef(parties.uploaded(BEN), row.manifest_digest),
    ):
        with pytest.raises(ManifestMismatch):
            parties.follower.prepare_refresh(bad, new_seed())


@pytest.mark.parametrize("index", [0, 1])
def test_a_damaged_share_keeps_its_own_model_from_a_refresh_and_no_other(parties, index):
    damaged, sound = activate(parties), activate(parties, BEN)
    harmed = (parties.leader, parties.follower)[index]
    path = harmed._files.path(damaged[0])
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert parties.leader.refresh() == 1
    assert not list(parties.leader._files._folder.glob("*.next"))
    parties.leader.quarantine.hear(parties.follower.quarantine.mine)
    parties.leader.synchronise()
    assert parties.leader.refresh() == 1
    assert np.array_equal(total(parties, sound[0]), sound[1]) and parties.agree
    raw[-1] ^= 1
    path.write_bytes(raw)
    harmed.quarantine.look_again()
    parties.leader.quarantine.hear(parties.follower.quarantine.mine)
    parties.leader.synchronise()
    whole(parties, [damaged, sound])


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("change", ["replaced", "deleted"])
def test_an_owner_cannot_keep_others_from_new_shares_or_fill_the_disk(
    parties, monkeypatch, index, change
):
    """Whichever party prepares its share just then."""
    model = activate(parties, BEN)
    files = (parties.leader, parties.follower)[index]._files
    write = ShareFiles.refresh

    def write_meanwhile(writing, row, zero):
        made = write(writing, row, zero)
        if writing is files and row.owner == ANA.name:
            if change == "replaced":
                activate(parties)
            else:
                for each in (parties.leader, parties.follower):
                    each.delete(row.model_id, ANA)
        return made

    activate(parties)
    monkeypatch.setattr(ShareFiles, "refresh", write_meanwhile)
    assert parties.leader.refresh() == 1
    monkeypatch.undo()
    assert not [path for path in files._folder.iterdir() if path.suffix != ".words"]
    assert parties.follower._registry.refreshes() == []
    whole(parties, [model])


def test_party_1_keeps_what_party_0_has_committed_however_long_it_was_away(parties, monkeypatch):
    models = [activate(parties, owner) for owner in (ANA, BEN)]
    use = Registry.use_refreshed

    def cut_then(registry, shares):
        use(registry, shares)
        parties.line.cut = True

    monkeypatch.setattr(Registry, "use_refreshed", cut_then)
    assert parties.leader.refresh() == 2
    monkeypatch.undo()
    parties.line.cut = False
    now = refreshes.time.time()
    monkeypatch.setattr(refreshes.time, "time", lambda: now + 100_000)
    parties.follower.empty_trash()
    parties.leader.refresh()
    whole(parties, models)


def test_party_1_keeps_two_prepared_shares_of_a_model_at_most(parties):
    model = activate(parties)
    parties.line.loses_answers = True
    for _ in range(4):
        with pytest.raises(Unreachable):
            parties.leader.refresh()
    assert len(parties.follower._registry.refreshes()) == 2
    assert len(list(parties.follower._files._folder.glob("*.next"))) == 2
    parties.line.loses_answers = False
    assert parties.leader.refresh() == 1
    whole(parties, [model])


def test_what_was_prepared_in_vain_gives_its_room_to_the_next_refresh(parties, monkeypatch):
    models = [activate(parties, owner) for owner in (ANA, BEN)]
    parties.line.loses_answers = True
    with pytest.raises(Unreachable):
        parties.leader.refresh()
    parties.line.loses_answers = False
    folder, disk = parties.follower._files._folder, parties.follower._disk
    require_room = Disk.require_room

    def for_four_shares(asked, wanted):
        if asked is disk and len(list(folder.iterdir())) >= 4:
            raise DiskFull("state: the disk is full")
        require_room(asked, wanted)

    monkeypatch.setattr(Disk, "require_room", for_four_shares)
    with pytest.raises(DiskFull):
        parties.leader.refresh()
    now = refreshes.time.time()
    monkeypatch.setattr(refreshes.time, "time", lambda: now + 3601)
    assert parties.leader.refresh() == 2
    whole(parties, models)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_a_share_that_cannot_be_put_in_place_is_put_there_later(
    tmp_path, monkeypatch, encrypted, when
):
    """At either party, the first file or the second one."""
    if encrypted:
        with_keys(tmp_path)
    with ExitStack() as stack:
        parties = opened(tmp_path, stack, EncryptedParties if encrypted else Parties)
        models = [activate(parties, owner) for owner in (ANA, BEN)]
        replace, calls = Path.replace, []

        def fails(path, target):
            calls.append(path)
            if len(calls) == when:
                raise OSError(errno.EIO, "input/output error")
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", fails)
        assert parties.leader.refresh() == 2
        monkeypatch.undo()
        for each in (parties.leader, parties.follower):
            each.quarantine.look_again()
        parties.leader.quarantine.hear(parties.follower.quarantine.mine)
        parties.leader.synchronise()
        whole(parties, models)


def test_a_refresh_that_took_too_long_changes_nothing(parties, monkeypatch):
    model = activate(parties)
    before = parties.leader.snapshot(COHORT).id
    monkeypatch.setattr(refreshes, "LONGEST_S", 0)
    with pytest.raises(DeadlineExceeded):
        parties.leader.refresh()
    assert parties.leader.snapshot(COHORT).id == before
    whole(parties, [model])


def test_the_age_of_shares_says_when_a_refresh_is_due(parties, monkeypatch):
    def older_than(seconds):
        return parties.leader.refreshes.older_than(seconds, [COHORT])

    assert older_than(0) == []
    activate(parties)
    assert older_than(3600) == []
    now = refreshes.time.time()
    monkeypatch.setattr(refreshes.time, "time", lambda: now + 7200)
    assert older_than(3600) == [COHORT]
    parties.leader.refresh()
    assert older_than(3600) == []


def test_shares_are_refreshed_by_the_clock_and_a_stop_ends_it(parties):
    model = activate(parties)
    changed = threading.Event()
    parties.leader.watch(changed.set)
    refresher = Refresher(parties.leader, hours=1e-7)
    refresher.start()
    assert changed.wait(60)
    refresher.stop()
    whole(parties, [model])
    with pytest.raises(Restarting):
        parties.leader.refresh()


# --- Deaths between the steps ---------------------------------------------------------------------


def dies_after(monkeypatch, owner, name, when=1):
    """The process of whoever calls this method for the `when`-th time dies once it is done."""
    method, calls = getattr(owner, name), []

    def dying(*args, **kwargs):
        result = method(*args, **kwargs)
        calls.append(name)
        if len(calls) == when:
            raise Died
        return result

    monkeypatch.setattr(owner, name, dying)


INSTANTS = {
    "the first share is written at party 0": (ShareFiles, "refresh", 1),
    "the first share is written at party 1": (ShareFiles, "refresh", 2),
    "the first share is recorded at party 1": (Registry, "prepare_refresh", 1),
    "every share is recorded at party 1": (Registry, "prepare_refresh", 2),
    "party 0 has committed": (Registry, "use_refreshed", 1),
    "party 0 has put one file in place": (ShareFiles, "take_over", 1),
    "party 0 has put both files in place": (ShareFiles, "take_over", 2),
    "party 1 has committed": (Registry, "use_refreshed", 2),
    "party 1 has put one file in place": (ShareFiles, "take_over", 3),
    "party 1 has put both files in place": (ShareFiles, "take_over", 4),
}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("instant", INSTANTS)
def test_w43_a_death_at_any_instant_leaves_both_parties_with_shares_that_fit(
    tmp_path, monkeypatch, instant, encrypted
):
    kind = EncryptedParties if encrypted else Parties
    if encrypted:
        with_keys(tmp_path)
    with ExitStack() as stack:
        parties = opened(tmp_path, stack, kind)
        models = [activate(parties, owner) for owner in (ANA, BEN)]
        with monkeypatch.context() as patched:
            dies_after(patched, *INSTANTS[instant])
            with suppress(Died):
                parties.leader.refresh()
                raise AssertionError("nobody died")
    with ExitStack() as stack:  # both parties are new processes
        parties = opened(tmp_path, stack, kind)
        parties.leader.synchronise()
        whole(parties, models)
        assert parties.leader.refresh() == 2
        whole(parties, models)
        for index in (0, 1):
            shares = tmp_path / f"party{index}" / "shares"
            assert {path.suffix for path in shares.iterdir()} == {".words"}


@pytest.mark.parametrize("loses_answers", [False, True])
def test_party_1_follows_later_if_the_line_breaks_after_party_0_has_committed(
    parties, monkeypatch, loses_answers
):
    models = [activate(parties, owner) for owner in (ANA, BEN)]
    use = Registry.use_refreshed

    def cut_then(registry, shares):
        use(registry, shares)
        parties.line.loses_answers, parties.line.cut = loses_answers, not loses_answers

    monkeypatch.setattr(Registry, "use_refreshed", cut_then)
    assert parties.leader.refresh() == 2
    monkeypatch.undo()
    assert parties.leader.behind.is_set()
    parties.line.cut = parties.line.loses_answers = False
    parties.leader.synchronise()
    whole(parties, models)


def test_an_attempt_that_failed_and_the_next_one_do_not_mix(parties, monkeypatch):
    model = activate(parties)
    parties.line.loses_answers = True  # party 1 has prepared, and party 0 does not know
    with pytest.raises(Unreachable):
        parties.leader.refresh()
    parties.line.loses_answers = False
    assert parties.leader.refresh() == 1
    whole(parties, [model])
    assert parties.follower._registry.refreshes() == []


def test_what_party_1_prepared_in_vain_is_forgotten_in_time(parties, monkeypatch):
    activate(parties)
    parties.line.loses_answers = True
    now = refreshes.time.time()
    for hour in (0, 0, 2):
        monkeypatch.setattr(refreshes.time, "time", lambda hour=hour: now + 3601 * hour)
        with pytest.raises(Unreachable):
            parties.leader.refresh()
    assert len(parties.follower._registry.refreshes()) == 1
    assert len(list(parties.follower._files._folder.glob("*.next"))) == 1


@pytest.mark.parametrize("when", ["prepared", "used"])
def test_c61_keys_that_rotate_in_the_middle_of_a_refresh_lose_nothing(tmp_path, monkeypatch, when):
    from test_shares_at_rest import encrypted

    with_keys(tmp_path)
    use = Registry.use_refreshed

    def rotated(registry, shares):
        configs = [encrypted(tmp_path, index) for index in (0, 1)]
        for config in configs if when == "prepared" else ():
            assert keys.rotate(config)[:-1] == []
        use(registry, shares)
        for config in configs if when == "used" else ():
            assert keys.rotate(config)[:-1] == []

    with ExitStack() as stack:
        parties = opened(tmp_path, stack, EncryptedParties)
        model = activate(parties)
        monkeypatch.setattr(Registry, "use_refreshed", rotated)
        parties.leader.refresh()
        monkeypatch.undo()
        whole(parties, [model])


# --- Backups --------------------------------------------------------------------------------------


def test_a_backup_after_a_refresh_restores_and_verifies(tmp_path):
    with ExitStack() as stack:
        parties = opened(tmp_path, stack)
        model = activate(parties)
        parties.leader.refresh()
        for index in (0, 1):
            assert backup(settings(tmp_path, index), tmp_path / f"backup{index}") == []
    for index in (0, 1):
        vault = parties.leader._files.vault if index == 0 else parties.follower._files.vault
        assert list(verify_backup(tmp_path / f"backup{index}", vault)) == []
        shutil.rmtree(tmp_path / f"party{index}")
        assert restore(settings(tmp_path, index), tmp_path / f"backup{index}") == []
        assert list(verify(settings(tmp_path, index))) == []
    with ExitStack() as stack:
        whole(opened(tmp_path, stack), [model])


@pytest.mark.parametrize("index", [0, 1])
def test_w24_a_backup_of_before_a_refresh_is_noticed_and_never_computed_with(tmp_path, index):
    with ExitStack() as stack:
        parties = opened(tmp_path, stack)
        old = activate(parties)
        backup(settings(tmp_path, index), tmp_path / "before")
        parties.leader.refresh()
        parties.leader.synchronise()
        parties.meet()
        epoch = (parties.leader, parties.follower)[index].standing.mine.epoch
    shutil.rmtree(tmp_path / f"party{index}")
    restore(settings(tmp_path, index), tmp_path / "before")
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        assert all(f"party {index} has an older" in " ".join(said) for said in parties.meet())
    adopt(settings(tmp_path, index), Wish(above=epoch, forget_spending=True))
    with ExitStack() as stack:
        parties = opened(tmp_path, stack)
        young = activate(parties, BEN)
        for _ in range(2):  # party 1 says what does not fit, as its watch does
            with suppress(ManifestMismatch):
                parties.leader.synchronise()
            parties.leader.quarantine.hear(parties.follower.quarantine.mine)
        assert parties.leader.snapshot(COHORT).owners == ("ben",) and parties.agree
        assert old[0] in " ".join(parties.leader.quarantine.lines)
        again = activate(parties)  # its owner uploads it again
        parties.leader.synchronise()
        whole(parties, [young, again])
        assert parties.leader.refresh() == 2
        whole(parties, [young, again])


# --- The audit log --------------------------------------------------------------------------------


def recorded(folder, party, event):
    lines = lines_of(folder / f"party{party}" / "audit")
    return [each for each in map(json.loads, lines) if each["event"] == event]


@pytest.mark.parametrize("cut", [False, True])
def test_w46_both_parties_record_which_models_have_new_shares(parties, tmp_path, cut):
    models = [activate(parties, owner)[0] for owner in (ANA, BEN)]
    told = parties.line.set_active

    def away(*_):
        raise Unreachable("party 1: cannot be reached")

    if cut:  # party 1 hears of it later
        parties.line.set_active = away
    assert parties.leader.refresh() == 2
    parties.line.set_active = told
    for _ in range(2):  # again is no other refresh
        parties.leader.synchronise()
    assert parties.agree
    versions = {each: parties.leader._registry.get(each).version for each in models}
    for party in (0, 1):
        said = recorded(tmp_path, party, "refresh")
        assert {each["model"]: each["version"] for each in said} == versions
        assert len(said) == 2 and {each["cohort"] for each in said} == {COHORT}


def test_w43_an_admin_far_away_cannot_keep_the_parties_busy_with_refreshes(parties):
    activate(parties)
    assert parties.leader.refresh(least_age_s=600) == 1  # uploaded a moment ago, never refreshed
    before = parties.leader.snapshot(COHORT).id
    with pytest.raises(Busy, match="a short time ago") as refused:
        parties.leader.refresh(least_age_s=600)
    assert 0 < refused.value.retry_after_s <= 600
    assert parties.leader.snapshot(COHORT).id == before
    assert parties.leader.refresh() == 1
