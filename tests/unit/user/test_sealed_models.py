"""Encrypted models: they open with their own passphrase or key file, and with nothing else."""

import json

import numpy as np
import pytest

from privedge.errors import CheckpointError
from privedge.ran.presets import preset
from privedge.user import checkpoint, sealed
from privedge.user.checkpoint import Ran
from privedge.user.sealed import Lock

SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
ANA = Ran(
    SPEC, "ana", {name: np.zeros(shape, np.float32) for name, shape in SPEC.parameters().items()}
)
WORDS = "correct horse"


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "ana.key"
    path.write_bytes(bytes(range(32)))
    path.chmod(0o600)
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ana.ran"


@pytest.fixture(params=["passphrase", "key_file"])
def secret(request, key):
    return {request.param: WORDS if request.param == "passphrase" else key}


def same(there: Ran) -> bool:
    return there.owner == "ana" and all(
        np.array_equal(there.parameters[name], value) for name, value in ANA.parameters.items()
    )


def test_what_was_encrypted_opens_with_the_same_secret(file, secret):
    ANA.save(file, **secret)
    assert same(Ran.load(file, **secret))
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_shows_its_owner_and_nothing_else_and_is_never_the_same_twice(file, secret):
    ANA.save(file, **secret)
    first = file.read_bytes()
    ANA.save(file, **secret)
    assert checkpoint.owner_of(file) == "ana"
    assert b"__metadata__" not in first and bytes(64) not in first
    assert len({first[-64:], file.read_bytes()[-64:]}) == 2


def test_a_file_in_the_clear_opens_with_or_without_a_secret(file, secret):
    ANA.save(file)
    assert same(Ran.load(file, **secret))


def test_without_the_secret_the_message_says_which_kind_it_needs(file, key):
    ANA.save(file, passphrase=WORDS)
    for given in ({}, {"key_file": key}):
        with pytest.raises(CheckpointError, match="encrypted with a passphrase; set PRIVEDGE_PAS"):
            Ran.load(file, **given)
    ANA.save(file, key_file=key)
    for given in ({}, {"passphrase": WORDS}):
        with pytest.raises(CheckpointError, match="encrypted with a key file; give --key-file"):
            Ran.load(file, **given)


def test_another_secret_is_refused(file, key):
    ANA.save(file, passphrase=WORDS)
    with pytest.raises(CheckpointError, match=r"ana\.ran: this passphrase does not open it"):
        Ran.load(file, passphrase="correct house")
    ANA.save(file, key_file=key)
    key.write_bytes(bytes(range(1, 33)))
    with pytest.raises(CheckpointError, match="this key file does not open it"):
        Ran.load(file, key_file=key)


def test_the_same_words_are_the_same_passphrase_however_accents_are_typed(file):
    ANA.save(file, passphrase="jos\u00e9")
    assert same(Ran.load(file, passphrase="jose\u0301"))


def test_no_byte_can_be_changed_cut_off_or_added(file, key):
    ANA.save(file, key_file=key)
    raw = file.read_bytes()
    end = len(raw) - 300
    for at in (*range(10, 200), *range(end, len(raw))):
        changed = bytearray(raw)
        changed[at] ^= 1
        file.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"ana\.ran: "):
            Ran.load(file, key_file=key)
    for other in (raw[:-1], raw[:40], raw + b"\0", sealed.MAGIC):
        file.write_bytes(other)
        with pytest.raises(CheckpointError, match=r"ana\.ran: "):
            Ran.load(file, key_file=key)


@pytest.mark.parametrize("header", [b"{}", b"[1]", b'{"kind": 1}', b"\xff", b"[" * 900])
def test_a_header_of_something_else_is_one_line(file, header):
    file.write_bytes(sealed.MAGIC + len(header).to_bytes(2, "little") + header + bytes(64))
    for read in (Ran.load, lambda path: checkpoint.owner_of(path)):
        with pytest.raises(CheckpointError, match=r"^[^\n]*first bytes are damaged$"):
            read(file)


@pytest.mark.parametrize("size", [0, 31, 5000])
def test_a_key_file_of_another_size_is_no_key(file, key, size):
    key.write_bytes(bytes(size))
    with pytest.raises(CheckpointError, match="is no key; it needs 32 to 4096 random bytes"):
        ANA.save(file, key_file=key)
    assert not file.exists()


def test_a_key_file_that_others_can_read_or_that_is_missing_is_refused(file, key):
    key.chmod(0o644)
    with pytest.raises(CheckpointError, match="others can read"):
        ANA.save(file, key_file=key)
    with pytest.raises(CheckpointError, match=r"none\.key: cannot be read"):
        ANA.save(file, key_file=key.with_name("none.key"))


def test_an_empty_passphrase_is_refused(file):
    with pytest.raises(CheckpointError, match="empty"):
        ANA.save(file, passphrase="")


def test_no_secret_shows_in_the_text_of_a_lock():
    lock = Lock.of(WORDS)
    assert WORDS not in repr(lock) and lock.secret.hex() not in repr(lock)
    assert Lock.from_dict(json.loads(json.dumps(lock.to_dict()))) == lock
