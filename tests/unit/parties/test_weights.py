"""A worker keeps the shares of the last few snapshots, or of a single large one."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from parties.at_rest.vault import Vault
from parties.worker import weights
from parties.worker.snapshot_cache import ModelFile
from parties.worker.weights import Weights
from privedge.errors import DigestMismatch
from privedge.ran.narrow import tensor_bits
from privedge.ran.presets import preset
from privedge.sharing.manifest import ModelManifest, TensorEntry, commitment, new_model_id
from privedge.sharing.ring import to_bytes

SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
SALT = bytes(32)


def stored(folder: Path, *, narrow: bool = False) -> tuple[ModelFile, dict[str, np.ndarray]]:
    """A share file of one made-up model, with what is in it."""
    rng = np.random.default_rng()
    words = {
        name: rng.integers(-(2**63), 2**63, size=shape, dtype=np.int64)
        for name, shape in SPEC.parameters().items()
    }
    entries = []
    parts = []
    for name, values in words.items():
        bits = tensor_bits(SPEC, name) if narrow else 64
        parts.append(to_bytes(values.view(np.uint64), bits))
        committed = commitment(SALT, name)
        committed.update(parts[-1])
        entries.append(TensorEntry(name, values.shape, (committed.hexdigest(), ""), bits))
    manifest = ModelManifest(new_model_id(), "digits", "ana", SPEC.digest(), tuple(entries))
    path = folder / f"{manifest.model_id}.words"
    path.write_bytes(b"".join(parts))
    return ModelFile(path, manifest.to_json(), SALT), words


def test_shares_are_stacked_in_the_order_of_the_snapshot(tmp_path):
    files, words = zip(*(stored(tmp_path) for _ in range(3)), strict=True)
    stacked = Weights(Vault(0)).load("s", SPEC, files)
    for name in SPEC.parameters():
        assert torch.equal(stacked[name], torch.from_numpy(np.stack([w[name] for w in words])))


def test_wide_and_narrow_shares_are_read_side_by_side(tmp_path):
    old, old_words = stored(tmp_path)
    new, new_words = stored(tmp_path, narrow=True)
    size = Path(old.path).stat().st_size
    assert Path(new.path).stat().st_size == (size - 8) // 8 * 3 + 8
    stacked = Weights(Vault(0)).load("s", SPEC, [old, new])
    for name in SPEC.parameters():
        ones = (1 << tensor_bits(SPEC, name)) - 1 if tensor_bits(SPEC, name) < 64 else -1
        assert torch.equal(stacked[name][0], torch.from_numpy(old_words[name]))
        assert torch.equal(stacked[name][1], torch.from_numpy(new_words[name] & ones))


def test_c54_a_damaged_share_is_not_loaded(tmp_path):
    file, _ = stored(tmp_path)
    raw = bytearray(Path(file.path).read_bytes())
    raw[100] ^= 1
    Path(file.path).write_bytes(raw)
    with pytest.raises(DigestMismatch):
        Weights(Vault(0)).load("s", SPEC, [file])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [cut, emptied, Path.unlink, a_folder, a_pipe])
def test_w20_all_damaged_shares_are_named_at_once_until_they_can_be_read(tmp_path, harm):
    files = [stored(tmp_path)[0] for _ in range(4)]
    kept = {file.path: file.path.read_bytes() for file in files[:2]}
    said: list[frozenset[str]] = []
    loader = Weights(Vault(0), found=lambda: said.append(loader.damaged))
    for file in files[:2]:
        harm(file.path)
    for _ in range(2):
        with pytest.raises(DigestMismatch, match=files[0].path.stem):
            loader.load("s", SPEC, files)
    loader.load("the rest", SPEC, files[2:])
    ids = frozenset(path.stem for path in kept)
    assert loader.damaged == ids and said == [ids]
    for path, raw in kept.items():
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(raw)
    loader.load("s", SPEC, files)
    assert said == [ids, frozenset()]


@pytest.mark.parametrize(("large", "kept"), [(False, True), (True, False)])
def test_a_large_snapshot_is_not_kept_beside_the_next(tmp_path, monkeypatch, large, kept):
    files = [stored(tmp_path)[0] for _ in range(2)]
    monkeypatch.setattr(weights, "LARGE_BYTES", 1 if large else 1 << 29)
    loader = Weights(Vault(0), keep=2)
    first = loader.load("first", SPEC, files[:1])
    loader.load("second", SPEC, files[1:])
    assert (loader.load("first", SPEC, files[:1]) is first) == kept
