"""Many models in one upload: in groups, for the owners of a registrar. Two real parties."""

import json
import shutil
from contextlib import ExitStack

import grpc
import numpy as np
import pytest
from large_cohort import COHORT, SECTION, SPEC
from model_server import TIMEOUT_S, serve, settings
from typer.testing import CliRunner

from parties.config.party import PartyConfig
from parties.party.audit.files import FOLDER, lines_of
from parties.party.models.leading_checks import ref_of
from parties.party.models.share_files import PARTIAL
from privedge import Owner
from privedge.cli.main import build
from privedge.config import ClientConfig
from privedge.errors import BudgetSpent, CheckpointError, LimitExceeded, NotAllowed, NotReady
from privedge.identity.roles import Identity, Role
from privedge.rpc import channel, codec
from privedge.sharing.manifest import UploadHeader
from privedge.user import checkpoint, upload, upload_many
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

REGISTRAR = "clinic"


class Both:
    """Both parties with a cohort of small vectors, where `clinic` is a registrar."""

    def __init__(self, folder, tls_for, stack, **changes):
        self._tls_for, self._stack, self.folder = tls_for, stack, folder
        self._running = stack.enter_context(ExitStack())
        self._changes = {"cohorts": [SECTION | {"registrars": [REGISTRAR]}]} | changes
        self.start()

    def start(self):
        follower, port_1 = self._started(1, {})
        leader, port_0 = self._started(0, {"peer": {"address": f"127.0.0.1:{port_1}"}})
        self.models, self.ports = (leader, follower), (port_0, port_1)

    def _started(self, index, changes):
        config = settings(self.folder, index, self._tls_for(Role.party(index))).model_dump()
        config = PartyConfig.model_validate(config | self._changes | changes)
        return self._running.enter_context(serve(config))

    def restart(self):
        self._running.close()
        self.start()

    def config(self, name=REGISTRAR, role=Role.OWNER):
        return ClientConfig(
            party0=f"127.0.0.1:{self.ports[0]}",
            party1=f"127.0.0.1:{self.ports[1]}",
            tls=self._tls_for(role, name),
            rpc_timeout_s=TIMEOUT_S,
        )

    def stub(self, party, name=REGISTRAR):
        opened = channel.open_party(self.config(name), Role.party(party))
        return PartyStub(self._stack.enter_context(opened))

    def owners(self, party):
        return self.models[party].snapshot(COHORT).owners

    def files(self, party):
        return sorted(path.name for path in (self.folder / f"party{party}/shares").iterdir())

    @property
    def agree(self):
        return self.models[0].snapshot(COHORT).id == self.models[1].snapshot(COHORT).id


@pytest.fixture
def started(tmp_path, tls_for):
    with ExitStack() as stack:
        yield lambda **changes: Both(tmp_path / "state", tls_for, stack, **changes)


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(upload_many, "_GROUP", 7)
    monkeypatch.setattr(upload_many, "_WINDOW", 20)


def a_ran(owner, value=0.5):
    parameters = {
        name: np.eye(*shape, dtype=np.float32)
        if len(shape) == 2
        else np.full(shape, value, np.float32)
        for name, shape in SPEC.parameters().items()
    }
    return Ran(SPEC, owner, parameters)


def named(count):
    return [f"{REGISTRAR}.{number:04}" for number in range(count)]


def test_many_models_are_active_at_both_parties_also_after_a_restart(started, small_groups):
    both = started()
    told = []
    epoch = both.models[0].standing.mine.epoch
    receipt = Owner(both.config()).upload_many(
        map(a_ran, named(50)), COHORT, progress=lambda *now: told.append(now)
    )
    assert (receipt.active, receipt.replaced, receipt.refused) == (50, 0, ())
    assert both.owners(0) == both.owners(1) == tuple(named(50)) and both.agree
    assert receipt.snapshot_id == both.models[0].snapshot(COHORT).id
    assert told[-1] == ("upload", 50, 50)
    # A commit for each group that was uploaded, or activated, and not for each model.
    assert both.models[0].standing.mine.epoch - epoch == 8 + 4
    log = list(map(json.loads, lines_of(both.folder / "party0" / FOLDER)))
    for event in ("upload", "activation"):
        of_event = [line for line in log if line["event"] == event]
        assert [line["owner"] for line in of_event] == named(50)
    assert [len(both.files(party)) for party in (0, 1)] == [50, 50]
    both.restart()
    both.models[0].synchronise()
    assert both.owners(0) == both.owners(1) == tuple(named(50)) and both.agree
    for models in both.models:
        models.quarantine.suspect(models.snapshot(COHORT).model_ids)
        assert models.quarantine.mine == frozenset()


def test_models_of_before_are_replaced_and_their_shares_set_aside(started, small_groups):
    both = started()
    owner = Owner(both.config())
    owner.upload_many(map(a_ran, named(10)), COHORT)
    receipt = owner.upload_many((a_ran(name, 0.25) for name in named(12)), COHORT)
    assert (receipt.active, receipt.replaced) == (12, 10)
    assert both.owners(1) == tuple(named(12)) and both.agree
    assert [len(both.files(party)) for party in (0, 1)] == [12, 12]
    states = [row.state for row in owner.models(COHORT)]
    assert (states.count("active"), states.count("retired")) == (12, 10)
    # A registrar may do with one of them what an owner may.
    one = next(row for row in owner.models(COHORT) if row.state == "active")
    owner.delete(one.model_id)
    assert both.agree and one.owner not in both.owners(0)


def test_several_models_of_one_owner_become_active_one_after_the_other(started):
    both = started()
    receipt = Owner(both.config()).upload_many(
        [a_ran(REGISTRAR), a_ran("clinic.a"), a_ran(REGISTRAR, 0.25)], COHORT
    )
    assert (receipt.active, both.owners(1)) == (3, ("clinic", "clinic.a"))
    assert both.agree


def whole(both, owners, spoil=None):
    """Requests to both parties for these owners' models; `spoil`: whose bytes are others."""
    requests = [pb.UploadModelsRequest(), pb.UploadModelsRequest()]
    for owner in owners:
        ran = a_ran(owner)
        halves = upload.split_up(ran, COHORT, upload.encoded(ran), narrow_words=False)
        for party, request in enumerate(requests):
            words = b"".join(halves.shares[party])
            header = UploadHeader(halves.manifest, halves.salts[party])
            if owner == spoil:
                words = bytes(len(words))
            request.models.add(header=codec.upload_header_to_wire(header), words=words)
    return requests


def code_of(call, request):
    with pytest.raises(grpc.RpcError) as refused:
        call(request, timeout=TIMEOUT_S)
    return refused.value.code()


def test_a_group_with_one_wrong_share_leaves_nothing_behind(started):
    both = started()
    request, _ = whole(both, named(9), spoil=named(9)[6])
    assert code_of(both.stub(0).UploadModels, request) is grpc.StatusCode.DATA_LOSS
    assert both.files(0) == [] and list(Owner(both.config()).models(COHORT)) == []
    request, _ = whole(both, named(9))
    assert both.stub(0).UploadModels(request, timeout=TIMEOUT_S).bytes_stored
    # Again is fine, and so is a part of it with others; another share of the same id is not.
    assert both.stub(0).UploadModels(request, timeout=TIMEOUT_S).bytes_stored
    assert len(both.files(0)) == 9
    more, _ = whole(both, ["clinic.more"])
    more.models.append(request.models[3])
    both.stub(0).UploadModels(more, timeout=TIMEOUT_S)
    assert len(both.files(0)) == 10
    more.models[1].header.salt = bytes(32)
    assert code_of(both.stub(0).UploadModels, more) is grpc.StatusCode.ALREADY_EXISTS


def test_a_group_that_the_registry_does_not_take_leaves_no_file(started, monkeypatch):
    both = started()
    registry = both.models[0]._registry

    def full(uploads):
        raise LimitExceeded("no room")

    monkeypatch.setattr(registry, "add_all", full)
    request, _ = whole(both, named(5))
    assert code_of(both.stub(0).UploadModels, request) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert both.files(0) == []


def test_a_power_cut_between_the_registry_and_the_names_loses_no_model(started, monkeypatch):
    """The files have no names yet, and are found by their contents."""
    both = started()
    request, _ = whole(both, named(5))
    shares = both.folder / "party0/shares"
    kept = both.folder / "kept"
    registry = both.models[0]._registry
    add_all = registry.add_all

    def recorded(uploads):
        add_all(uploads)
        shutil.copytree(shares, kept)

    monkeypatch.setattr(registry, "add_all", recorded)
    both.stub(0).UploadModels(request, timeout=TIMEOUT_S)
    names = both.files(0)
    both._running.close()
    shutil.rmtree(shares)
    shutil.copytree(kept, shares)
    assert all(name.endswith(PARTIAL) for name in both.files(0)) and len(both.files(0)) == 5
    both.start()
    assert both.files(0) == names


def test_nobody_uploads_for_others_but_a_registrar_for_those_below_it(started):
    both = started()
    for name, owner in (("ana", "ana.b"), ("ana", "clinic.a"), (REGISTRAR, "ana"),
                        (REGISTRAR, "clinicb"), (REGISTRAR, "clinic-b.a")):  # fmt: skip
        request, _ = whole(both, [owner])
        code = code_of(both.stub(0, name).UploadModels, request)
        assert code is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(CheckpointError, match="who can upload for owners called"):
        Owner(both.config()).upload_many([a_ran("ana")], COHORT)
    with pytest.raises(NotAllowed):
        Owner(both.config("ana")).upload_many([a_ran("ana.b")], COHORT)
    Owner(both.config()).upload_many([a_ran("clinic.a")], COHORT)
    for name in ("ana", "clinic.b"):
        assert list(Owner(both.config(name)).models(COHORT)) == []
    # The owner itself, if it has a certificate, keeps its rights.
    assert [row.owner for row in Owner(both.config("clinic.a")).models(COHORT)] == ["clinic.a"]


def test_a_registrar_registers_only_who_is_on_the_list_of_owners(started):
    lists = SECTION | {"registrars": [REGISTRAR], "owners": [REGISTRAR, "clinic.a*"]}
    both = started(cohorts=[lists])
    owner = Owner(both.config())
    assert owner.upload_many([a_ran("clinic.a1")], COHORT).active == 1
    with pytest.raises(NotAllowed):
        owner.upload_many([a_ran("clinic.b1")], COHORT)


def test_a_registrar_has_a_limit_of_models(started):
    both = started(limits={"max_models_per_registrar": 6})
    owner = Owner(both.config())
    assert owner.upload_many(map(a_ran, named(6)), COHORT).active == 6
    with pytest.raises(LimitExceeded):
        owner.upload_many([a_ran("clinic.more")], COHORT)
    assert both.files(0) == both.files(1) and len(both.files(0)) == 6


@pytest.mark.parametrize("poor", [0, 1])
def test_an_activation_of_many_is_charged_for_each_owner(started, poor, monkeypatch):
    """The one whose budget is spent is refused, and the others are active."""
    both = started(budgets={"activations_per_hour": 2})
    owner = Owner(both.config())
    spent = both.models[poor].budgets
    spent.activations([named(5)[2]])
    spent.activations([named(5)[2]])
    receipt = owner.upload_many(map(a_ran, named(5)), COHORT)
    assert receipt.active == 4
    (refused,) = receipt.refused
    assert refused.owner == named(5)[2] and isinstance(refused.error, BudgetSpent)
    assert both.owners(0) == both.owners(1) and len(both.owners(0)) == 4
    # Party 0's charge was given back where party 1 refused: one more is left there.
    if poor == 1:
        assert len(both.models[0].budgets.activations([refused.owner])) == 1


def test_models_that_were_never_checked_are_not_activated_in_groups(started):
    """Party 0 would ask for a check of each; party 1 does not rely on that."""
    both = started(cohorts=[SECTION | {"registrars": [REGISTRAR], "model_check": {}}])
    requests = whole(both, named(3))
    for party, request in enumerate(requests):
        both.stub(party).UploadModels(request, timeout=TIMEOUT_S)
    ids = [each.header.manifest.model_id for each in requests[0].models]
    rows = both.models[0]._registry.rows(ids)
    answers = both.models[1].prepare_all([ref_of(rows[each]) for each in ids])
    assert [type(each).__name__ for each in answers] == ["NotReady"] * 3
    assert both.owners(1) == ()


def test_a_folder_is_uploaded_by_the_command(started, tmp_path, tls_for):
    both = started()
    folder = tmp_path / "models"
    folder.mkdir()
    for name in named(12):
        checkpoint.save(a_ran(name), folder / f"{name}.ran")
    tls = tls_for(Role.OWNER, REGISTRAR)
    config = tmp_path / "clinic.toml"
    config.write_text(
        f'party0 = "127.0.0.1:{both.ports[0]}"\nparty1 = "127.0.0.1:{both.ports[1]}"\n'
        f'[tls]\nca = "{tls.ca}"\ncertificate = "{tls.certificate}"\nkey = "{tls.key}"\n'
    )
    command = ["upload", str(folder), "--cohort", COHORT, "--config", str(config)]
    done = CliRunner().invoke(build(), command)
    assert (done.exit_code, done.stdout.splitlines()) == (
        0,
        [f"12 models active in {COHORT}; 0.0 MB at each party"],
    )
    again = CliRunner().invoke(build(), [*command, "--json"])
    said = json.loads(again.stdout)
    assert (said["active"], said["replaced"], said["refused"]) == (12, 12, [])
    assert both.owners(1) == tuple(named(12))


def test_a_failure_in_the_middle_says_how_many_models_are_active(started, small_groups):
    both = started()
    spoiled = [*map(a_ran, named(30)), a_ran("ana")]
    with pytest.raises(CheckpointError, match="14 models are active, upload the others again"):
        Owner(both.config()).upload_many(spoiled, COHORT)
    assert len(both.owners(0)) == 14 and both.agree
    listed = both.models[0].listed(Identity(Role.ADMIN, "root"), COHORT)
    assert {row.state for row in listed} == {"active"}


def test_a_party_1_that_knows_no_groups_gets_one_model_after_the_other(started, monkeypatch):
    both = started()

    def unknown(refs, said):
        raise NotReady("party 1: does not know this call")

    monkeypatch.setattr(both.models[0]._peer, "prepare_all", unknown)
    receipt = Owner(both.config()).upload_many(map(a_ran, named(3)), COHORT)
    assert (receipt.active, receipt.refused) == (3, ())
    assert both.owners(1) == tuple(named(3)) and both.agree


def test_a_group_fits_a_message_however_many_tensors_its_models_have(monkeypatch):
    monkeypatch.setattr(upload_many, "_GROUP_BYTES", 3000)
    halves = []
    for owner in named(20):
        ran = a_ran(owner)
        halves.append(upload.split_up(ran, COHORT, upload.encoded(ran), narrow_words=False))
    groups = list(upload_many._groups(halves))
    assert [each for group in groups for each in group] == halves
    for group in groups:
        models = [
            pb.WholeModel(header=codec.upload_header_to_wire(header), words=words)
            for header, words in upload_many._whole(group, 0)
        ]
        assert pb.UploadModelsRequest(models=models).ByteSize() < 3000 + 200 * len(group)
