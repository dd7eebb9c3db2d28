"""parties/at_rest, and the state folder that it encrypts (W-43, T4, C-54, C-61): real files."""

import io
import itertools
import json
import os
import shutil
import threading
import time
from contextlib import ExitStack

import pytest
from test_model_service import ANA, BEN, COHORT, Line, Parties, settings, shares_of

from parties.at_rest import envelope, sealed_share
from parties.at_rest.key_ring import Key, KeyRing, read_keys, write_keys
from parties.at_rest.sealed_share import Label, Sealer, opened, sealed_bytes
from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from parties.config.sections import AtRestSection
from parties.party.audit.files import lines_of
from parties.party.models import encryption
from parties.party.models.state_folder import open_models
from parties.party.models.tables import Model, RefreshedShare, State
from parties.party.upkeep import keys
from parties.party.upkeep.backup import backup, restore
from parties.party.upkeep.verify import verify, verify_backup
from privedge.errors import ConfigError, DigestMismatch, Unreachable
from privedge.sharing.manifest import ModelManifest, TensorEntry, new_model_id, new_salt

# With small chunks, a tensor has several of them.
CHUNK = 64
SHAPES = ((3, 8), (1,), (24,))
RAW = os.urandom(8 * 49)


@pytest.fixture
def ring(tmp_path):
    return ring_at(tmp_path / "ring")


def ring_at(path):
    write_keys(path, [Key.drawn()])
    return KeyRing(path)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(sealed_share, "CHUNK_BYTES", CHUNK)


def a_manifest():
    entries = (TensorEntry(f"{i}.weight", shape, ("", "")) for i, shape in enumerate(SHAPES))
    return ModelManifest(new_model_id(), "digits", "ana", "0" * 64, tuple(entries))


def sealed(ring, label, manifest, raw=RAW, cuts=()):
    out = io.BytesIO()
    sealer = Sealer(ring, label, manifest, out.write)
    for start, end in itertools.pairwise([0, *cuts, len(raw)]):
        sealer.take(memoryview(raw)[start:end])
    return out.getvalue()


def read(tmp_path, ring, label, manifest, raw):
    path = tmp_path / "a share"
    path.write_bytes(raw)
    with path.open("rb", buffering=0) as file:
        return b"".join(opened(file, ring, label, manifest))


# --- The file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(), (1,), (7, 8, 200, 391), (64, 128, 192)])
def test_a_share_comes_back_however_it_arrived(tmp_path, ring, small_chunks, cuts):
    manifest = a_manifest()
    label = Label.of(0, manifest)
    raw = sealed(ring, label, manifest, cuts=cuts)
    assert len(raw) == sealed_bytes(manifest) > manifest.share_bytes
    assert read(tmp_path, ring, label, manifest, raw) == RAW


def test_t4_no_word_of_a_share_is_in_its_file_and_no_two_files_are_alike(ring, small_chunks):
    manifest = a_manifest()
    first, second = (sealed(ring, Label.of(0, manifest), manifest) for _ in range(2))
    for start in range(0, len(RAW), 8):
        assert RAW[start : start + 8] not in first
    head = len(sealed_share.MAGIC) + envelope.ID_BYTES
    assert all(
        first[start : start + 16] != second[start : start + 16]
        for start in range(head, len(first) - 16)
    )


def test_c54_no_changed_bit_goes_unnoticed(tmp_path, ring, small_chunks):
    manifest = a_manifest()
    label, raw = Label.of(0, manifest), sealed(ring, Label.of(0, manifest), manifest)
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 << place % 8
        with pytest.raises(DigestMismatch):
            read(tmp_path, ring, label, manifest, bytes(changed))


@pytest.mark.parametrize("left", [0, 50, 200, -1])
def test_c54_a_cut_file_is_noticed(tmp_path, ring, small_chunks, left):
    manifest = a_manifest()
    raw = sealed(ring, Label.of(0, manifest), manifest)
    with pytest.raises(DigestMismatch):
        read(tmp_path, ring, Label.of(0, manifest), manifest, raw[:left])


def test_c54_no_chunk_can_take_the_place_of_another(tmp_path, ring, small_chunks):
    """Chunks of one tensor, and of two tensors of one size, in one file."""
    manifest = a_manifest()
    label, raw = Label.of(1, manifest), sealed(ring, Label.of(1, manifest), manifest)
    whole = CHUNK + sealed_share.TAG_BYTES
    first = sealed_share.HEADER_BYTES
    last = len(raw) - 3 * whole
    places = [first, first + whole, first + 2 * whole, last, last + whole, last + 2 * whole]
    for one, other in itertools.combinations(places, 2):
        swapped = bytearray(raw)
        swapped[one : one + whole] = raw[other : other + whole]
        swapped[other : other + whole] = raw[one : one + whole]
        with pytest.raises(DigestMismatch):
            read(tmp_path, ring, label, manifest, bytes(swapped))


@pytest.mark.parametrize("field", ["party", "cohort", "model_id", "version"])
def test_t4_a_file_or_a_salt_opens_for_its_own_row_only(tmp_path, ring, field):
    manifest = a_manifest()
    label = Label.of(0, manifest)
    other = Label(**(vars(label) | {field: 1 if field == "party" else "f" * 32}))
    raw = sealed(ring, label, manifest)
    with pytest.raises(DigestMismatch):
        read(tmp_path, ring, other, manifest, raw)
    salt = envelope.seal(ring, bytes(32), label.purpose("salt"))
    for purpose in (other.purpose("salt"), label.purpose("share")):
        with pytest.raises(DigestMismatch):
            envelope.unseal(ring, salt, purpose)


def test_a_header_of_another_file_of_the_same_share_does_not_fit(tmp_path, ring):
    manifest = a_manifest()
    label = Label.of(0, manifest)
    one, other = (sealed(ring, label, manifest) for _ in range(2))
    head = sealed_share.HEADER_BYTES
    with pytest.raises(DigestMismatch):
        read(tmp_path, ring, label, manifest, one[:head] + other[head:])


# --- The key ring ---------------------------------------------------------------------------------


def test_a_key_ring_is_read_again_when_it_changes_and_a_bad_one_is_not_taken_over(tmp_path):
    path = tmp_path / "ring"
    ring = ring_at(path)
    old = ring.current
    new = Key.drawn()
    write_keys(path, [old, new])
    assert (ring.current, ring.get(old.id)) == (new, old)
    path.write_text("no key\n")
    assert ring.current == new
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_bad_key_ring_that_is_put_right_by_its_mode_alone_is_taken_over(tmp_path):
    path = tmp_path / "ring"
    ring = ring_at(path)
    old, new = ring.current, Key.drawn()
    path.chmod(0o666)
    assert ring.current == old
    write_keys(path, [old, new])  # keeps the mode
    assert ring.current == old
    path.chmod(0o600)
    assert ring.current == new


def test_a_changed_key_ring_keeps_who_may_read_it(tmp_path):
    path = tmp_path / "ring"
    write_keys(path, [Key.drawn()])
    if os.geteuid() == 0:
        os.chown(path, 0, 65534)
    path.chmod(0o640 if os.geteuid() == 0 else 0o400)
    before = path.stat()
    write_keys(path, [*read_keys(path), Key.drawn()])
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (
        before.st_uid, before.st_gid, before.st_mode
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (None, 0o600, "no such file"),
        ("", 0o600, "holds no key"),
        ("rubbish", 0o600, "line 1 is no key"),
        (f"{'0' * 16} {'a' * 64}", 0o600, "does not have the id"),
        ("\u00e4", 0o600, "no key ring"),
        (f"{Key(bytes(32)).id} {'0' * 64}", 0o644, "chmod 600"),
    ],
    ids=["missing", "empty", "rubbish", "typing error", "not ASCII", "too widely readable"],
)
def test_a_key_ring_that_cannot_be_used_is_named_in_one_line(tmp_path, text, mode, said):
    path = tmp_path / "ring"
    if text is not None:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    with pytest.raises(ConfigError, match=said) as refused:
        read_keys(path)
    assert "\n" not in str(refused.value) and "a" * 64 not in str(refused.value)


def test_nobody_sees_a_key_in_a_repr(ring):
    assert ring.current.secret.hex() not in repr(ring.current)
    assert repr(ring.current.secret) not in repr(ring.current)


# --- A state folder -------------------------------------------------------------------------------


def encrypted(folder, index) -> PartyConfig:
    """The configuration of a party with a key ring of its own."""
    at_rest = AtRestSection(key_file=folder / f"keys{index}" / "ring")
    bare = settings(folder, index, disk={"reserve_mib": 0})  # nothing in it to search through
    return bare.model_copy(update={"at_rest": at_rest})


def with_keys(folder):
    for index in (0, 1):
        (folder / f"keys{index}").mkdir(exist_ok=True)
        keys.create(encrypted(folder, index))


class EncryptedParties(Parties):
    """The same, with a key ring each."""

    def __init__(self, folder, stack):
        self.follower = stack.enter_context(open_models(encrypted(folder, 1), None))
        self.line = Line(self.follower)
        self.leader = stack.enter_context(open_models(encrypted(folder, 0), self.line))


@pytest.fixture
def folder(tmp_path):
    """Two stopped parties with encrypted folders and two active models."""
    with_keys(tmp_path)
    with ExitStack() as stack:
        parties = EncryptedParties(tmp_path, stack)
        parties.meet()
        for owner in (ANA, BEN):
            parties.activated(owner)
    return tmp_path


def owners(folder, index):
    with open_models(encrypted(folder, index), None) as models:
        return models.snapshot(COHORT).owners


def everything_in(state):
    return b"".join(path.read_bytes() for path in sorted(state.rglob("*")) if path.is_file())


def refusal(config):
    with pytest.raises(ConfigError) as refused, open_models(config, None):
        pass
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_t4_a_state_folder_holds_no_word_of_a_share_and_no_salt(tmp_path):
    with_keys(tmp_path)
    with ExitStack() as stack:
        parties = EncryptedParties(tmp_path, stack)
        headers, raw = shares_of(ANA)
        for models, header, share in zip(
            (parties.leader, parties.follower), headers, raw, strict=True
        ):
            models.upload(header, ANA, [share])
            assert models.upload(header, ANA, [share]) == len(share)  # the same again
        parties.leader.activate(headers[0].manifest.model_id, ANA)
        parties.activated(ANA)  # the first one is in the trash now
        for index in (0, 1):
            found = everything_in(tmp_path / f"party{index}")
            assert headers[index].salt not in found
            words = (raw[index][place : place + 8] for place in range(0, len(raw[index]), 8))
            assert not any(word in found for word in words)


def test_t4_a_folder_of_before_is_encrypted_at_its_next_start_its_trash_too(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack, disk={"reserve_mib": 0})
        parties.meet()
        for owner in (ANA, ANA, BEN):
            parties.activated(owner)
    state = tmp_path / "party1"
    before = [path.read_bytes() for path in state.rglob("*.words")]
    rows = {len(row.salt) for row in rows_of(tmp_path)}
    assert (len(before), rows) == (3, {32})
    with_keys(tmp_path)
    assert owners(tmp_path, 1) == ("ana", "ben")
    found = everything_in(state)
    assert not any(share[place : place + 8] in found for share in before for place in (0, 800))
    assert {len(row.salt) for row in rows_of(tmp_path)} == {envelope.SEALED_BYTES}
    assert list(verify(encrypted(tmp_path, 1))) == []


def test_t4_two_models_with_one_salt_are_both_encrypted_at_the_next_start(tmp_path):
    """An owner chooses the salts of its models, and may choose one twice."""
    with ExitStack() as stack:
        parties, salts = Parties(tmp_path, stack), (new_salt(), new_salt())
        for _ in range(2):
            headers, raw = shares_of(ANA, salts)
            for models, header, share in zip(
                (parties.leader, parties.follower), headers, raw, strict=True
            ):
                models.upload(header, ANA, [share])
            parties.leader.activate(headers[0].manifest.model_id, ANA)
    with_keys(tmp_path)
    assert owners(tmp_path, 1) == ("ana",)
    assert list(verify(encrypted(tmp_path, 1))) == []


def test_t4_a_prepared_refresh_is_encrypted_too_and_still_usable(tmp_path):
    """Party 0 may have committed it, and party 1 not know of it yet."""
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.meet()
        parties.activated(ANA)
        parties.line.set_active = lambda *_: away()
        assert parties.leader.refresh() == 1
    (waiting,) = (tmp_path / "party1" / "shares").glob("*.next")
    before = waiting.read_bytes()
    with_keys(tmp_path)
    assert owners(tmp_path, 1) == ("ana",)
    found = everything_in(tmp_path / "party1")
    assert not any(before[place : place + 8] in found for place in range(0, len(before), 80))
    with ExitStack() as stack:
        parties = EncryptedParties(tmp_path, stack)
        parties.leader.synchronise()
        assert parties.agree and parties.leader.snapshot(COHORT).owners == ("ana",)
        parties.follower.quarantine.suspect(parties.follower.in_use())
        assert not parties.follower.quarantine.mine


def away():
    raise Unreachable("party 1: cannot be reached")


def test_what_was_prepared_of_a_model_that_is_gone_does_not_keep_a_folder_from_its_keys(tmp_path):
    """As an earlier release could leave it."""
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        model_id = parties.activated(ANA)
        registry = parties.follower._registry
        registry.prepare_refresh(
            RefreshedShare(
                model_id=model_id,
                version="a" * 32,
                in_use=False,
                salt=new_salt(),
                commitments_json="[]",
                created_at=int(time.time()),
            )
        )
        registry.record(lambda session: setattr(session.get_one(Model, model_id), "salt", b""))
        registry.record(
            lambda session: setattr(session.get_one(Model, model_id), "state", State.DELETED)
        )
        (tmp_path / "party1" / "shares" / f"{model_id}.{'a' * 32}.next").write_bytes(b"words")
    with_keys(tmp_path)
    with open_models(encrypted(tmp_path, 1), None) as models:
        assert models._registry.refreshes() == []
    assert list((tmp_path / "party1" / "shares").glob("*.next")) == []


def test_a_copy_of_a_trash_file_that_broke_off_goes_by_the_clock(tmp_path, monkeypatch):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.activated(ANA)
        parties.activated(ANA)
    with_keys(tmp_path)
    config, trash = encrypted(tmp_path, 1), tmp_path / "party1" / "trash"
    copied, half = encryption.copied, []

    def kept(source, target, *rest):
        copied(source, target, *rest)
        if target.parent == trash:
            half.append((target, target.read_bytes()[:-1]))

    monkeypatch.setattr(encryption, "copied", kept)
    assert owners(tmp_path, 1) == ("ana",)
    ((path, raw),) = half
    path.write_bytes(raw)  # the process died while it wrote it
    with open_models(config, None) as models:
        assert models._files.in_trash()[0] == 2
        models.empty_trash(now=time.time() + 1e9)
        assert list(trash.iterdir()) == []


@pytest.mark.parametrize("first", ["destroyed", "sealed"])
def test_w43_a_rotation_never_brings_a_destroyed_key_back(tmp_path, ring, monkeypatch, first):
    """A refresh destroys the key of the old file, which a rotation has open just then."""
    manifest = a_manifest()
    label, path = Label.of(0, manifest), tmp_path / "a share"
    path.write_bytes(sealed(ring, label, manifest))
    with path.open("r+b", buffering=0) as mine, path.open("r+b", buffering=0) as other:
        data_key, threads = sealed_share._data_key, []

        def meanwhile(*args):
            key = data_key(*args)
            threads.append(threading.Thread(target=sealed_share.destroy_key, args=(other,)))
            threads[-1].start()
            threads[-1].join(0.2)  # without a lock it would be done by now
            return key

        if first == "sealed":
            monkeypatch.setattr(sealed_share, "_data_key", meanwhile)
            sealed_share.reseal(mine, ring, label)
            mine.close()
            threads[0].join(60)
        else:
            sealed_share.destroy_key(other)
            other.close()
            with pytest.raises(DigestMismatch):
                sealed_share.reseal(mine, ring, label)
    monkeypatch.undo()
    with pytest.raises(DigestMismatch):
        read(tmp_path, ring, label, manifest, path.read_bytes())


def rows_of(folder):
    from parties.party.models.look import live_rows

    return live_rows(f"sqlite:///{folder / 'party1' / 'registry.sqlite'}")


def test_t4_a_wrong_key_or_none_refuses_to_start_in_one_line(folder):
    config = encrypted(folder, 0)
    assert "name its key ring" in refusal(settings(folder, 0))
    ring = config.at_rest.key_file
    shutil.move(ring, folder / "kept")
    assert "no such file" in refusal(config)
    write_keys(ring, [Key.drawn()])
    assert "is not the key ring of" in refusal(config)
    shutil.copy(folder / "keys1" / "ring", ring)
    assert "is not the key ring of" in refusal(config)
    (folder / "party0" / "at_rest.json").unlink()  # the salts tell as well
    assert "is not the key ring of" in refusal(config)
    assert "name its key ring" in refusal(settings(folder, 0))
    shutil.move(folder / "kept", ring)
    assert owners(folder, 0) == ("ana", "ben")


@pytest.mark.parametrize("place", ["party0/ring", "party0", "link/ring"])
def test_t4_a_key_within_the_state_folder_is_refused(tmp_path, place):
    fields = settings(tmp_path, 0).model_dump()
    (tmp_path / "party0").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "party0")
    fields["at_rest"] = {"key_file": tmp_path / place}
    with pytest.raises(ValueError, match="must not be in `state`"):
        PartyConfig.model_validate(fields)


def swap(one, other):
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def test_t4_a_share_in_the_place_of_another_model_leaves_out_both_and_no_third(folder):
    state = folder / "party0"
    with ExitStack() as stack:
        parties = EncryptedParties(folder, stack)
        third = parties.activated(type(ANA)(ANA.role, "cy"))
    one, other = sorted(
        path for path in (state / "shares").glob("*.words") if not path.name.startswith(third)
    )
    swap(one, other)
    with ExitStack() as stack:
        parties = EncryptedParties(folder, stack)
        parties.meet()
        parties.leader.quarantine.suspect(parties.leader.in_use())
        parties.leader.synchronise()
        assert parties.leader.snapshot(COHORT).owners == ("cy",) and parties.agree
        swap(one, other)
        parties.leader.quarantine.hear(frozenset())
        parties.leader.quarantine.look_again()
        parties.leader.synchronise()
        assert parties.leader.snapshot(COHORT).owners == ("ana", "ben", "cy") and parties.agree


def test_t4_a_salt_in_the_row_of_another_model_leaves_out_that_model_only(folder):
    import sqlite3

    with sqlite3.connect(folder / "party0" / "registry.sqlite") as registry:
        (ana,) = registry.execute("SELECT salt FROM models WHERE owner = 'ana'").fetchone()
        registry.execute("UPDATE models SET salt = ? WHERE owner = 'ben'", (ana,))
    registry.close()
    with ExitStack() as stack:
        parties = EncryptedParties(folder, stack)
        parties.meet()
        parties.leader.quarantine.suspect(parties.leader.in_use())
        parties.leader.synchronise()
        assert parties.leader.snapshot(COHORT).owners == ("ana",) and parties.agree


# --- Rotation -------------------------------------------------------------------------------------


def in_use(config):
    return {key: sum(counts) for key, counts in keys.used(config).items()}


def test_c61_after_a_rotation_old_shares_are_read_and_new_ones_use_the_new_key(folder):
    config = encrypted(folder, 0)
    with ExitStack() as stack:
        parties = EncryptedParties(folder, stack)
        parties.activated(ANA)  # with a replaced one in the trash
        (old,) = in_use(config)
        assert keys.rotate(config)[:-1] == []
        before, new = in_use(config)
        assert (before, in_use(config)[old]) == (old, 0)
        parties.activated(BEN)
        assert in_use(config)[old] == 0
        rows = parties.leader.in_use()
        parties.leader.quarantine.suspect(rows)
        assert parties.leader.quarantine.mine == frozenset() and len(rows) == 2
        keys.drop(config, f"{old}:")  # as `keys list` prints it
        assert list(in_use(config)) == [new]
        parties.leader.quarantine.suspect(rows)
        assert parties.leader.quarantine.mine == frozenset()
    assert owners(folder, 0) == ("ana", "ben")
    assert list(verify(config)) == []


def test_c61_a_key_in_use_and_the_newest_one_cannot_be_dropped(folder):
    config = encrypted(folder, 0)
    ring = config.at_rest.key_file
    (old,) = read_keys(ring)
    write_keys(ring, [old, Key.drawn()])  # added by hand, and nothing sealed with it yet
    newest = read_keys(ring)[-1]
    for key in (old, newest):
        with pytest.raises(ConfigError, match=r"in use|no older key"):
            keys.drop(config, key.id)
    assert keys.reseal_all(config) == []
    keys.drop(config, old.id)
    assert owners(folder, 0) == ("ana", "ben")


def test_c61_a_rotation_that_was_interrupted_is_finished_by_the_next_reseal(folder, monkeypatch):
    config, done = encrypted(folder, 0), []

    def dies(file, ring, label):
        if done:
            raise KeyboardInterrupt
        done.append(sealed_share.reseal(file, ring, label))

    monkeypatch.setattr(keys, "reseal", dies)
    with pytest.raises(KeyboardInterrupt):
        keys.rotate(config)
    monkeypatch.undo()
    old, new = read_keys(config.at_rest.key_file)
    assert in_use(config)[old.id] and in_use(config)[new.id]
    assert owners(folder, 0) == ("ana", "ben")
    assert keys.reseal_all(config) == []
    assert in_use(config)[old.id] == 0


def test_a_rotation_with_keys_that_do_not_fit_changes_nothing(folder):
    config = encrypted(folder, 0)
    ring = config.at_rest.key_file
    write_keys(ring, [Key.drawn()])
    before = ring.read_bytes()
    with pytest.raises(ConfigError, match="is not the key ring"):
        keys.rotate(config)
    assert ring.read_bytes() == before


def test_w46_the_audit_log_says_which_key_encrypts_and_since_when(folder):
    config = encrypted(folder, 0)
    (old,) = read_keys(config.at_rest.key_file)
    with ExitStack() as stack:
        leader = EncryptedParties(folder, stack).leader
        leader.audit.start()
        keys.rotate(config)
        (_, new) = read_keys(config.at_rest.key_file)
        leader.quarantine.suspect(leader.in_use())
        leader.audit.stop()
        lines = [json.loads(line) for line in lines_of(config.state / "audit")]
        assert [each["key"] for each in lines if each["event"] == "key ring"] == [old.id, new.id]
        secrets = {key.secret.hex() for key in (old, new)}
        assert not any(secret in str(lines) for secret in secrets)


@pytest.mark.parametrize("act", ["rotate", "reseal_all", "drop", "create"])
def test_t4_keys_are_changed_by_the_partys_user_only(folder, monkeypatch, act):
    config = encrypted(folder, 0)
    before = config.at_rest.key_file.read_bytes(), (config.state / "at_rest.json").read_bytes()
    another = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: another)
    with pytest.raises(ConfigError, match=rf"belongs to the user with id {os.getuid()}; run"):
        getattr(keys, act)(config, *["0" * 16][: act == "drop"])
    after = config.at_rest.key_file.read_bytes(), (config.state / "at_rest.json").read_bytes()
    assert after == before


def test_t4_a_running_party_keeps_its_keys_when_another_ring_takes_their_place(folder):
    config = encrypted(folder, 0)
    ring = config.at_rest.key_file
    right = read_keys(ring)
    with ExitStack() as stack:
        parties = EncryptedParties(folder, stack)
        rows = parties.leader.in_use()
        write_keys(ring, [Key.drawn()])
        parties.leader.quarantine.suspect(rows)
        assert parties.leader.quarantine.mine == frozenset()
        parties.activated()
        write_keys(ring, right)
        parties.leader.quarantine.suspect(parties.leader.in_use())
        assert parties.leader.quarantine.mine == frozenset()
    assert list(verify(config)) == []


def test_t4_a_quarantine_ends_once_the_key_that_lacked_is_back_in_the_ring(folder):
    config = encrypted(folder, 0)
    ring = config.at_rest.key_file
    (old,) = read_keys(ring)
    keys.rotate(config)
    both = read_keys(ring)
    with ExitStack() as stack:
        leader = EncryptedParties(folder, stack).leader
        (one, _) = leader.in_use()
        row = leader._registry.get(one)
        with leader._files.path(one).open("r+b", buffering=0) as file:
            write_keys(ring, [both[1], old])
            sealed_share.reseal(file, KeyRing(ring), leader._files.vault.label(row.manifest))
        write_keys(ring, [both[1]])
        leader.quarantine.suspect([one])
        assert leader.quarantine.mine == {one}
        write_keys(ring, both)
        leader.quarantine.look_again()
        assert leader.quarantine.mine == frozenset()


def test_the_key_ring_can_be_made_once_and_needs_a_name(tmp_path):
    with_keys(tmp_path)
    with pytest.raises(ConfigError, match="there already"):
        keys.create(encrypted(tmp_path, 0))
    with pytest.raises(ConfigError, match="key_file first"):
        keys.create(settings(tmp_path, 0))


# --- Backups --------------------------------------------------------------------------------------


def test_t4_a_backup_is_encrypted_too_and_comes_back_with_the_keys_of_its_time(folder):
    config = encrypted(folder, 0)
    made = folder / "backup0"
    assert backup(config, made) == []
    shares = {path.name: path.read_bytes() for path in (made / "shares").iterdir()}
    assert all(share.startswith(sealed_share.MAGIC) for share in shares.values())
    assert list(verify_backup(made, Vault.of(config))) == []
    assert all("encrypted" in line for line in verify_backup(made, Vault(0)))
    keys.rotate(config)
    assert list(verify_backup(made, Vault.of(config))) == []
    shutil.rmtree(folder / "party0")
    assert restore(config, made) == []
    assert "name its key ring" in refusal(settings(folder, 0))
    assert owners(folder, 0) == ("ana", "ben")


def test_a_backup_of_before_comes_back_and_is_encrypted_then(tmp_path):
    with ExitStack() as stack:
        parties = Parties(tmp_path, stack)
        parties.activated(ANA)
        backup(settings(tmp_path, 0), tmp_path / "backup0")
    shutil.rmtree(tmp_path / "party0")
    with_keys(tmp_path)
    config = encrypted(tmp_path, 0)
    assert restore(config, tmp_path / "backup0") == []
    assert owners(tmp_path, 0) == ("ana",)
    (share,) = (tmp_path / "party0" / "shares").iterdir()
    assert share.read_bytes().startswith(sealed_share.MAGIC)
