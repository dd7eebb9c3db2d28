"""Disks that are full, folders that are swapped, and a power cut during an upload."""

import os
import resource
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from privedge.errors import LimitExceeded, PrivEdgeError
from privedge.identity.roles import Identity, Role
from privedge.user import models
from tools.gameday.drill import drill, expect
from tools.gameday.service import PARTIES, Service

_LEAST_BYTES = 4096


@drill("C-19", "the disk of party 0 is full in the middle of an upload")
def disk_0_full(service: Service) -> str:
    """No file of it may grow beyond 4 KiB."""
    return _full(service, Role.PARTY0)


@drill("C-19", "the disk of party 1 is full in the middle of an upload", short=False)
def disk_1_full(service: Service) -> str:
    """The same at the other party."""
    return _full(service, Role.PARTY1)


@drill("C-52", "kill -9 of party 1 during an upload", short=False)
def killed_during_upload(service: Service) -> str:
    """After its restart both parties list the same models of this owner."""
    model = replace(service.models[1], owner="cut-off")
    with ThreadPoolExecutor(1) as thread:
        sent = thread.submit(service.upload, model)
        service.kill(service.server(Role.PARTY1))
        error = sent.exception(120)
    expect(error is None or isinstance(error, PrivEdgeError), error)
    service.start(Role.PARTY1)
    service.upload(model)
    config = service.deployment.client_config(Identity(Role.OWNER, model.owner))
    active = [
        [each.model_id for each in models.listed(config, at=party) if each.state == "active"]
        for party in PARTIES
    ]
    expect(active[0] == active[1] and len(active[0]) == 1, active)
    said = "was acknowledged" if error is None else type(error).__name__
    return f"the upload: {said}; sent again, it is active at both"


@drill("C-56", "the state folders of the parties are swapped", short=False)
def folders_swapped(service: Service) -> str:
    """Neither party starts; nothing is lost."""
    for party in reversed(PARTIES):
        service.stop(party)
    folder = service.deployment.folder / "state"
    _swap(folder)
    try:
        lines = [_refusal(service, party) for party in PARTIES]
    finally:
        _swap(folder)
    for party in PARTIES:
        service.deployment.start(party)
    for party in PARTIES:
        service.deployment.wait_ready(party)
    for number, line in enumerate(lines):
        expect(f"is party {1 - number}'s" in line, line)
    return "neither starts: one line, exit status 1"


# --- Shared by several drills ---------------------------------------------------------------------


def _full(service: Service, party: Role) -> str:
    process = service.deployment.processes[party].pid
    model = replace(service.models[0], owner="late")
    limits = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (_LEAST_BYTES, limits[1]))
    try:
        service.upload(model)
        raise AssertionError("it was stored")
    except LimitExceeded as error:
        seen = type(error).__name__
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, limits)
    service.ask()
    service.upload(model)
    left = list((service.deployment.folder / "state" / party / "shares").glob("*.partial"))
    expect(not left, left)
    return f"{seen} for the owner; queries are answered; with space again it is stored"


def _swap(folder: object) -> None:
    first, second, aside = (f"{folder}/{name}" for name in (*PARTIES, "aside"))
    for source, target in ((first, aside), (second, first), (aside, second)):
        shutil.move(source, target)


def _refusal(service: Service, party: Role) -> str:
    done = subprocess.run(
        service.deployment.command(party), capture_output=True, text=True, timeout=60
    )
    expect(done.returncode == os.EX_CONFIG and done.stderr.count("\n") == 1, done.stderr)
    return done.stderr
