"""Random life of a service: uploads, questions, kills, freezes, lost messages, restarts, rotations.

Hypothesis draws the steps. The servers are real and stay the same ones; a step may find them in any
state that earlier steps have left. Whatever happens, an answer is the plaintext model's answer for
the models that are active, and once everything is mended there are answers again.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from privedge.errors import PrivEdgeError, ShareError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import SERVERS
from privedge.ran import features
from privedge.sharing.fixed_point import encode
from privedge.user import models, upload
from privedge.user.party import connect
from privedge_lab.reference.model import PlainModel
from tools.gameday.drills.identity import replace_everything
from tools.gameday.invariants import Invariants
from tools.gameday.service import MARGIN, PARTIES, UPLOADS, Service

pytestmark = pytest.mark.mpc

GUESTS = 3
HASTY_S, PATIENT_S = 1, 60
MOST_BROKEN = 2

guests = st.integers(0, GUESTS - 1)
versions = st.integers(0, 1)
parties = st.sampled_from(PARTIES)
servers = st.sampled_from(SERVERS)
ways = st.sampled_from(["up", "down"])


def all_is_well(life: "Life") -> bool:
    return not life.broken


def more_may_break(life: "Life") -> bool:
    return len(life.broken) < MOST_BROKEN


class Life(RuleBasedStateMachine):
    """`active` is what each guest has active: an id or None. `broken` has how to mend each fault.

    A step may fail only while something is broken. If a change fails, everything is mended, and the
    guest asks what has become of it. Servers may still be at it then, so the guest asks again
    before each question.
    """

    service: ClassVar[Service]
    # Of each model that a party ever had, by id.
    version: ClassVar[dict[str, int]]
    steps: ClassVar[list[str]]

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[str, Callable[[], object]] = {}
        self.before = Invariants(self.service)
        self.unsettled: set[int] = set()
        self.active = {guest: self.asked_of(guest) for guest in range(GUESTS)}
        self.steps.append("a new life")
        for guest in range(GUESTS):
            if self.active[guest] is None:
                self.upload(guest, 0)

    def teardown(self) -> None:
        self.mend_all()
        assert [*self.before.broken()] == [], self.steps

    # --- Models and questions ---------------------------------------------------------------------

    @rule(image=st.integers(0, 9))
    def ask(self, image: int) -> None:
        """The question is of any digit; the answer is a guest's name, or None for unknown."""
        self.steps.append(f"ask {image}")
        if not self.broken:
            self.active |= {guest: self.asked_of(guest) for guest in self.unsettled}
        held = [self.model(each, self.version[id]) for each, id in self.active.items() if id]
        if not held:  # all are deleted
            return
        images = self.service.question(image).images
        given = features.extract(held[0].spec, images)
        (expected,) = PlainModel(held, MARGIN).answers(given)
        within_s, retries = (HASTY_S, 0) if self.broken else (PATIENT_S, 4)
        with self.service.client(within_s=within_s, retries=retries) as client:
            try:
                (answer,) = client.identify(images, UPLOADS).answers
            except PrivEdgeError:
                assert self.broken, self.steps
                return
        assert expected.tie or answer.owner == expected.owner, self.steps

    @rule(guest=guests, version=versions)
    def upload(self, guest: int, version: int) -> None:
        self.changed(f"upload {guest}", guest, lambda: self.sent(guest, version), version)

    @rule(guest=guests)
    def delete(self, guest: int) -> None:
        model_id = self.active[guest]
        if model_id is not None:
            self.changed(f"delete {guest}", guest, lambda: self.deleted(guest, model_id))

    @precondition(all_is_well)
    @rule(guest=guests, version=versions)
    def upload_twice(self, guest: int, version: int) -> None:
        def change() -> None:
            halves = self.halves(guest, version)
            with self.both(guest) as pair:
                for _ in range(2):
                    upload.upload_one(pair, halves, None)
                pair[0].activate(halves.manifest.model_id)

        self.changed(f"upload {guest} twice", guest, change, version)

    @precondition(all_is_well)
    @rule(guest=guests, version=versions)
    def upload_too_little(self, guest: int, version: int) -> None:
        self.steps.append(f"upload {guest} too little")
        halves = self.halves(guest, version)
        cut = tuple([*share[:-1], share[-1][:0]] for share in halves.shares)
        with self.both(guest) as pair, pytest.raises(ShareError):
            upload.upload_one(pair, replace(halves, shares=cut), None)
        assert self.asked_of(guest) == self.active[guest], self.steps

    # --- Faults -----------------------------------------------------------------------------------

    @precondition(more_may_break)
    @rule(server=servers)
    def kill(self, server: Role) -> None:
        if not any(str(server) in fault for fault in self.broken):
            self.steps.append(f"kill {server}")
            self.service.kill(self.service.server(server))
            self.service.deployment.processes[server].wait(PATIENT_S)
            self.broken[str(server)] = lambda: self.service.deployment.start(server)

    @precondition(more_may_break)
    @rule(server=servers)
    def freeze(self, server: Role) -> None:
        if not any(str(server) in fault for fault in self.broken):
            self.steps.append(f"freeze {server}")
            process = self.service.server(server)
            process.suspend()
            self.broken[str(server)] = process.resume

    @precondition(all_is_well)
    @rule(party=parties)
    def kill_worker(self, party: Role) -> None:
        self.steps.append(f"kill a worker of {party}")
        self.service.kill(self.service.worker(party))
        self.service.until_answered(PATIENT_S)

    @precondition(more_may_break)
    @rule(party=parties, way=ways)
    def lose_messages(self, party: Role, way: str) -> None:
        self.steps.append(f"lose messages {way} at {party}")
        cable = self.service.to(party)
        cable.hold(way)
        self.broken[f"cable of {party.value[-1]}"] = lambda: (cable.cut(), cable.heal())

    @precondition(more_may_break)
    @rule()
    def part(self) -> None:
        self.steps.append("part the parties")
        for cable in self.service.peer:
            cable.hold("up", "down")
        self.broken["peer"] = lambda: [cable.heal() for cable in self.service.peer]

    @precondition(all_is_well)
    @rule(server=servers)
    def restart(self, server: Role) -> None:
        self.steps.append(f"restart {server}")
        assert self.service.stop(server) == 0
        self.service.start(server)

    @precondition(all_is_well)
    @rule()
    def rotate(self) -> None:
        self.steps.append("replace all certificates")
        replace_everything(self.service)
        for cable in self.service.cables:
            cable.cut()

    @precondition(lambda life: not all_is_well(life))
    @rule()
    def mend(self) -> None:
        self.mend_all()

    # --- Helpers ----------------------------------------------------------------------------------

    def mend_all(self) -> None:
        self.steps.append("mend")
        for mend in self.broken.values():
            mend()
        self.broken.clear()
        for server in SERVERS:
            self.service.deployment.wait_ready(server)
        self.service.until_answered(PATIENT_S)

    def changed(
        self, step: str, guest: int, change: Callable[[], object], version: int = 0
    ) -> None:
        self.steps.append(step)
        self.unsettled.discard(guest)
        try:
            change()
        except PrivEdgeError:
            assert self.broken, self.steps
            self.mend_all()
            self.unsettled.add(guest)
        try:
            self.active[guest] = self.asked_of(guest, version)
        except PrivEdgeError:
            assert self.broken, self.steps
            self.mend_all()
            self.active[guest] = self.asked_of(guest, version)

    def model(self, guest: int, version: int):
        return replace(self.service.models[2 * guest + version], owner=f"guest-{guest}")

    def config(self, guest: int):
        within_s, retries = (HASTY_S, 0) if self.broken else (PATIENT_S, 4)
        owner = Identity(Role.OWNER, f"guest-{guest}")
        return self.service.config(owner, within_s=within_s, retries=retries)

    def asked_of(self, guest: int, version: int = 0) -> str | None:
        """Which model of the guest is active; `version` is that of models not seen before."""
        rows = models.listed(self.config(guest))
        for row in rows:
            self.version.setdefault(row.model_id, version)
        return next((row.model_id for row in rows if row.state == "active"), None)

    def sent(self, guest: int, version: int) -> None:
        upload.send(self.model(guest, version), UPLOADS, self.config(guest))

    def deleted(self, guest: int, model_id: str) -> None:
        models.delete(model_id, self.config(guest))

    def halves(self, guest: int, version: int):
        ran = self.model(guest, version)
        secrets = {name: encode(ran.parameters[name]) for name in ran.spec.parameters()}
        return upload.split_up(ran, UPLOADS, secrets, narrow_words=True)

    @contextmanager
    def both(self, guest: int):
        config = self.config(guest)
        with connect(config, Role.PARTY0) as first, connect(config, Role.PARTY1) as second:
            yield first, second


def live(tmp_path, lives: int, steps: int) -> None:
    """Each life has kinds of steps of its own: Hypothesis leaves some out."""
    with Service(tmp_path) as service:
        Life.service, Life.version, Life.steps = service, {}, []
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=lives,
                stateful_step_count=steps,
                phases=[Phase.generate],
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        assert service.wrong == 0


def test_c63_60_random_steps_give_no_wrong_answer(tmp_path):
    live(tmp_path, 6, 10)


@pytest.mark.slow
def test_c63_400_random_steps_give_no_wrong_answer(tmp_path):
    live(tmp_path, 10, 40)
