"""What the backend puts into CrypTen is one table, and all of it can be taken back."""

import sys
import threading
from inspect import isclass
from typing import Any

import pytest
import torch

from parties.mpc.crypten_backend import install
from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    FixedPointEncoder,
    MPCTensor,
    beaver,
    crypten,
    ptype,
)
from parties.mpc.crypten_backend.programs import fix
from parties.mpc.tuples import Bit
from privedge.errors import LimitExceeded, NotAllowed, NotReady, NotSupported, ShareError
from tests.unit.mpc.crypten_programs.programs import run

X = torch.tensor([1.0, -2.0, 3.5])


def attributes() -> dict[tuple[Any, str], Any]:
    """Every attribute of every module and class of CrypTen's, by its owner's identity and name."""
    modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "crypten"]
    owners: dict[int, Any] = {id(module): module for module in modules}
    for module in modules:
        for kind in vars(module).values():
            if isclass(kind) and kind.__module__.split(".")[0] == "crypten":
                owners[id(kind)] = kind
    return {
        (at, name): value for at, owner in owners.items() for name, value in vars(owner).items()
    }


@pytest.fixture
def installed():
    install.install()
    yield
    install.install()


def test_the_table_is_what_is_replaced_and_can_be_taken_back(installed):
    install.restore()
    before = attributes()
    install.install()
    after = attributes()
    replaced = {at for at in after if after[at] is not before.get(at, install)}
    assert replaced == {(id(owner), name) for owner, name in install.TABLE}
    install.restore()
    assert {at: id(value) for at, value in attributes().items()} == {
        at: id(value) for at, value in before.items()
    }


def test_every_entry_of_the_table_is_needed():
    # What CrypTen has under no name is never called, but for what the backend brings with it.
    own = {
        "_late", "_mark", "__getattr__", "config", "AUTOGRAD_ENABLED", "_feature_dropout",
        "relu_and_value",
    }  # fmt: skip
    install.restore()
    try:
        missing = {name for owner, name in install.TABLE if not hasattr(owner, name)}
    finally:
        install.install()
    assert missing <= own


REFUSED = {
    "manual_seed": (lambda x: crypten.manual_seed(1, 2, 3), NotAllowed),
    "save": (lambda x: crypten.save(x, "file"), NotSupported),
    "load": (lambda x: crypten.load("file"), NotSupported),
    "save_from_party": (lambda x: crypten.save_from_party(X, "file"), NotSupported),
    "load_from_party": (lambda x: crypten.load_from_party(preloaded=X), NotSupported),
    "threads": (lambda x: crypten.init_thread(0, 2), NotSupported),
    "processes": (lambda x: crypten.mpc.run_multiprocess(3), NotSupported),
    "validation": (lambda x: setattr(crypten.cfg.debug, "validation_mode", True), NotAllowed),
    "debugging": (lambda x: setattr(crypten.cfg.debug, "debug_mode", True), NotAllowed),
    "active": (lambda x: setattr(crypten.cfg.mpc, "active_security", True), NotAllowed),
    "TTP": (lambda x: setattr(crypten.cfg.mpc, "provider", "TTP"), NotAllowed),
    "replicated": (lambda x: setattr(crypten.cfg.mpc, "protocol", "replicated"), NotAllowed),
    "by dotted name": (lambda x: crypten.cfg.__setitem__("mpc.provider", "TFP"), NotAllowed),
    "wraps": (lambda x: beaver.wraps(x._tensor), NotSupported),
    "local truncation": (lambda x: beaver.truncate(x._tensor, 4), NotSupported),
    "tracing": (lambda x: crypten.trace(), NotSupported),
    "objects": (lambda x: crypten.communicator.get().send_obj([1], 1), NotSupported),
    "one way": (lambda x: crypten.communicator.get().send(X, 1), NotSupported),
    "pickled": (lambda x: crypten.communicator.get().broadcast_obj({"a": 1}, 0), NotSupported),
    "another reduction": (
        lambda x: crypten.communicator.get().all_reduce(X, torch.distributed.ReduceOp.MAX),
        NotSupported,
    ),
    "padding": (lambda x: x.pad((1, 1), mode="reflect"), NotSupported),
    "a tensor plus what holds it": (lambda x: x._tensor + x, TypeError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_insecure_is_refused_in_one_line(name):
    called, error = REFUSED[name]

    def written(x):
        # Party 1 sends nothing that party 0 refuses, so it may not wait for it.
        if crypten.communicator.get().get_rank() == 1:
            return None
        called(x)
        return None

    with pytest.raises(error) as raised:
        run(written, X)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "call", [lambda: crypten.init(), lambda: crypten.cryptensor(X), lambda: crypten.rand(3)]
)
def test_without_a_session_nothing_computes(installed, call):
    with pytest.raises(NotReady):
        call()


def test_without_a_program_nothing_is_marked():
    with pytest.raises(NotReady):
        fix(crypten.nn.Linear(2, 2))


def test_a_tensor_does_not_show_its_share():
    def written(x):
        return repr(x), repr(x._tensor), repr(x.to(ptype.binary)._tensor)

    for text in run(written, X).value:
        assert "hidden" in text and "(3,)" in text and "65536" not in text


def test_no_generator_of_torch_is_seeded():
    def written(x):
        crypten.rand(3)
        ArithmeticSharedTensor.PRSS((3,))
        return x.argmax(dim=0).get_plain_text()

    run(written, X)
    assert not any(crypten.generators.values())


def test_random_numbers_draw_no_more_than_the_bits_that_are_converted():
    ran = run(lambda: crypten.rand(5).share)
    assert ran.sessions[0].tuples.used == [Bit((16, 5))]


def test_each_thread_has_settings_of_its_own(installed):
    seen = []

    def other():
        crypten.cfg.functions.exp_iterations = 3
        seen.append(crypten.cfg.functions.exp_iterations)

    with crypten.cfg.temp_override({"functions.exp_iterations": 5, "encoder.precision_bits": 8}):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert crypten.cfg.functions.exp_iterations == 5
        assert crypten.cfg["encoder.precision_bits"] == 8
        assert FixedPointEncoder().scale == 256
    assert seen == [3]
    assert (crypten.cfg.functions.exp_iterations, FixedPointEncoder().scale) == (8, 1 << 16)


def test_a_setting_that_is_not_known_is_refused_and_nothing_is_left_overridden(installed):
    with pytest.raises(AttributeError), crypten.cfg.temp_override({"functions.nothing": 1}):
        pass
    with pytest.raises(NotAllowed), crypten.cfg.temp_override({"mpc.provider": "TTP"}):
        pass
    assert crypten.cfg.mpc.provider == "DEALER"


def test_settings_come_from_a_file_but_for_what_is_fixed(installed, tmp_path):
    path = tmp_path / "crypten.yaml"
    before = crypten.cfg.config
    path.write_text("encoder: {precision_bits: 12}")
    try:
        crypten.cfg.load_config(str(path))
        assert (FixedPointEncoder().scale, crypten.cfg.functions.exp_iterations) == (1 << 12, 8)
        path.write_text("mpc: {provider: TTP}")
        with pytest.raises(NotAllowed):
            crypten.cfg.load_config(str(path))
        crypten.cfg.load_config(None)
        assert FixedPointEncoder().scale == 1 << 16
        crypten.cfg.set_config(before)
        assert FixedPointEncoder().scale == 1 << 12
        with pytest.raises(NotAllowed):
            crypten.cfg.set_config({"mpc": {}})
    finally:
        crypten.cfg.load_config(None)


def test_a_generator_is_never_used(installed):
    with pytest.raises(NotSupported):
        crypten.common.rng.generate_random_ring_element((3,), generator=torch.Generator())
    with pytest.raises(NotSupported):
        crypten.generators["local"][torch.device("cpu")]


# --- The communicator -----------------------------------------------------------------------------


def collectives(x):
    """Each of them once, with what each party has."""
    comm = crypten.communicator.get()
    mine = torch.tensor([comm.get_rank() + 1, 5])
    flags = torch.tensor([bool(comm.get_rank())])
    reals = torch.full((2,), 0.1 + comm.get_rank())
    lists = [mine, mine + 10]
    comm.barrier()
    return {
        "all_reduce": comm.all_reduce(mine),
        "batch": comm.all_reduce(
            [mine, mine[:1]], op=torch.distributed.ReduceOp.BXOR, batched=True
        ),
        "reduce": comm.reduce(mine, 1),
        "gather": comm.gather(mine, 0),
        "all_gather": comm.all_gather(reals),
        "broadcast": comm.broadcast(flags, 1),
        "scatter": comm.scatter(lists if comm.get_rank() == 0 else None, 0),
        "shape": comm.broadcast_obj(torch.Size((2, 3)) if comm.get_rank() else None, 1),
        "scalar": comm.broadcast_obj(torch.Size(()) if comm.get_rank() else None, 1),
        "stats": comm.get_communication_stats()["rounds"],
    }


def test_collectives_give_what_cryptens_own_give():
    ran = run(collectives, X)
    first, second = ran.value, ran.other
    assert first["all_reduce"].tolist() == second["all_reduce"].tolist() == [3, 10]
    assert [part.tolist() for part in first["batch"]] == [[3, 0], [3]]
    assert first["reduce"] is None and second["reduce"].tolist() == [3, 10]
    assert [each.tolist() for each in first["gather"]] == [[1, 5], [2, 5]]
    assert second["gather"] == [None]
    for half in (first, second):
        assert torch.equal(torch.stack(half["all_gather"]), torch.tensor([[0.1] * 2, [1.1] * 2]))
        assert half["broadcast"].tolist() == [True]
        assert half["shape"] == (2, 3) and half["scalar"] == ()
    assert (first["scatter"].tolist(), second["scatter"].tolist()) == ([1, 5], [11, 15])
    assert first["stats"] == ran.rounds


def test_whoever_receives_sends_zeros_and_no_share():
    secret = torch.tensor([12345, 678])

    def written(x):
        comm = crypten.communicator.get()
        return comm.reduce(secret, 0), comm.gather(secret, 0), comm.broadcast(secret, 1)

    sent = run(written, X).views[0].sent
    assert len(sent) == 3 and not any(words.any() for words in sent)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([9, 1], ShareError),
        ([-1], ShareError),
        ([1, -5], ShareError),
        ([2, 1 << 20, 1 << 20], LimitExceeded),
    ],
)
def test_a_shape_from_the_other_party_is_checked(words, error):
    def written(x):
        comm = crypten.communicator.get()
        if comm.get_rank() == 0:
            padded = torch.zeros(9, dtype=torch.long)
            padded[: len(words)] = torch.tensor(words)
            comm.session().exchange(padded)
            return None
        return comm.broadcast_obj(None, 0)

    with pytest.raises(error):
        run(written, X)


def test_binary_words_of_unequal_shapes_are_joined():
    def written(x):
        words = torch.tensor([[6, 5, 12], [3, 9, 10]])
        left = MPCTensor(words, ptype=ptype.binary)
        right = MPCTensor(words[:1], ptype=ptype.binary)
        return (left._tensor & right._tensor).get_plain_text()

    assert run(written, X).value.tolist() == [[6, 5, 12], [2, 1, 8]]
