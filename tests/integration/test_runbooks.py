"""The pages for operators, typed as they stand by operators, owners, an authority and a client.

Each is a folder of its own with real processes on loopback (units.py). A block begins with who
types it. Only addresses and the folders of a machine are replaced. Blocks of `bash` are not run:
they install packages.
"""

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from units import ROOT, Machine

from privedge.client.query import Client
from privedge.config import ClientConfig, load
from privedge.errors import PrivEdgeError

pytestmark = pytest.mark.mpc

OPERATORS = ("party 0", "party 1", "dealer")
OWNERS = ("ana", "bo")
EVERYBODY = (*OPERATORS, *OWNERS, "authority", "client")
GROUPS = {"each operator": OPERATORS, "each owner": OWNERS}
PICTURE = "someone.png"
BLOCK = re.compile(r"^```(sh|toml)\n# ([^\n,:]*)(.*?\n)(.*?)^```$", re.MULTILINE | re.DOTALL)
# What one block leaves for the next one of the same machine: its variables.
SHELL = 'set -euo pipefail; set -a; . "$PROFILE"; trap \'export -p > "$PROFILE"\' EXIT\n'


def bars(of: str) -> Iterator[np.ndarray]:
    """Twelve pictures of a bar: upright and a little tilted for ana, flat for bo."""
    rows, columns = np.mgrid[-16:16, -16:16]
    if of == "bo":
        rows, columns = columns, rows
    for tilt in range(12):
        distance = np.abs(columns * np.cos(tilt / 40) + rows * np.sin(tilt / 40))
        yield np.where(distance < 4, 255, 0).astype(np.uint8)


class World:
    """All machines. `type_all(page)` types the blocks of a page, in their order."""

    def __init__(self, folder: Path) -> None:
        self.exchange = folder / "exchange"
        self.exchange.mkdir()
        replaced = {"/srv/exchange": str(self.exchange), **addresses()}
        self.machines = {
            name: Machine.made(folder / name.replace(" ", ""), replaced) for name in EVERYBODY
        }
        for name, machine in self.machines.items():
            (machine.folder / "home").mkdir()
            variables = f"name={name}\n" if name in OWNERS else ""
            (machine.folder / "profile").write_text(variables)
        for owner in OWNERS:
            pictures = self.home(owner) / "pictures"
            pictures.mkdir()
            for number, pixels in enumerate(bars(owner)):
                Image.fromarray(pixels).save(pictures / f"{number:02}.png")
        shutil.copy(self.home("ana") / "pictures/05.png", self.home("client") / PICTURE)

    def home(self, name: str) -> Path:
        """Where somebody types: operators in the clone, the others at home."""
        return ROOT if name in OPERATORS else self.machines[name].folder / "home"

    def type_all(self, page: str) -> str:
        """Return what was printed. Every block must end with status 0."""
        text = (ROOT / "docs/how-to" / f"{page}.md").read_text()
        blocks = BLOCK.findall(text)
        assert len(blocks) == len(re.findall(r"^```(?:sh|toml)$", text, re.MULTILINE))
        return "".join(map(self.type_block, blocks))

    def type_block(self, block: tuple[str, ...]) -> str:
        """Type one block, on every machine that it is for. A file is written where it says."""
        kind, who, more, body = block
        printed = ""
        for name in GROUPS.get(who, (who,)):
            machine = self.machines[name]
            if kind == "toml":
                Path(machine.here(more.strip(": \n"))).write_text(machine.here(body))
            else:
                printed += self._typed(machine, self.home(name), body)
        return printed

    def _typed(self, machine: Machine, home: Path, body: str) -> str:
        environment = {**os.environ, "PROFILE": str(machine.folder / "profile")}
        environment["PATH"] = (
            f"{machine.folder}/bin:{machine.here('/opt/privedge/bin')}:/usr/bin:/bin"
        )
        done = subprocess.run(
            ["bash", "-c", SHELL + machine.here(body)], cwd=home, env=environment, timeout=300,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{body}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def client(self) -> Client:
        """A client that stays, as the device of the last step of docs/how-to/deploy.md.

        It waits for as long as a restart takes on a machine that is busy with other work.
        """
        config = load(ClientConfig, self.home("client") / "privedge.toml")
        return Client(config.model_copy(update={"rpc_timeout_s": 600.0}))

    def stop(self) -> None:
        for name in OPERATORS:
            self.machines[name].stop_all()


def addresses() -> dict[str, str]:
    """What stands in the pages, and the free ports of loopback in its place."""
    with ExitStack() as held:
        free = {}
        for port in (7000, 7001, 7002, 7100):
            each = held.enter_context(socket.socket())
            each.bind(("127.0.0.1", 0))
            free[port] = f"127.0.0.1:{each.getsockname()[1]}"
    named = {7000: ["party0"], 7001: ["party1"], 7002: ["dealer"], 7100: ["party1"]}
    return {f"0.0.0.0:{port}": here for port, here in free.items()} | {
        f"{name}.example.org:{port}": free[port] for port, names in named.items() for name in names
    }


class Asking(threading.Thread):
    """Asks again and again, and keeps every answer and error."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.heard, self.began, self.over = [], threading.Event(), threading.Event()
        self._client, self._picture = world.client(), world.home("client") / PICTURE

    def __enter__(self) -> "Asking":
        self.start()
        assert self.began.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(600)
        self._client.close()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.heard.append(self._client.identify(self._picture, "people").answers[0].owner)
            except PrivEdgeError as error:
                self.heard.append(repr(error))
            self.began.set()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    """Everything that the first page makes."""
    world = World(tmp_path_factory.mktemp("world"))
    try:
        world.first = world.type_all("deploy")
        yield world
    finally:
        world.stop()


def test_w79_a_new_operator_gets_from_empty_machines_to_the_first_answer(world):
    asked, _, admin = world.first.partition(f"{PICTURE}: ana\n")
    assert asked
    # party 0's admin sees both owners' models, and has no fault
    assert all(f"people, {owner}\n" in admin for owner in OWNERS)
    assert admin.endswith("privedge.toml: no fault found\n")
    for name in ("party 0", "party 1", "the dealer"):
        assert f"{name}: serves\n" in world.first


def test_w09_no_key_has_left_the_machine_that_made_it(world):
    keys = {
        name: {file.read_bytes() for file in machine.folder.rglob("*.key")}
        for name, machine in world.machines.items()
    }
    assert all(keys.values())
    assert sum(map(len, keys.values())) == len(set.union(*keys.values()))
    assert list(world.exchange.iterdir())
    assert not any(b"PRIVATE" in file.read_bytes() for file in world.exchange.iterdir())


def test_w01_certificates_and_an_authority_are_rotated_and_no_query_fails(world):
    with Asking(world) as asking:
        world.type_all("rotate-certificates")
    assert set(asking.heard) == {"ana"}


def test_w17_a_party_whose_state_is_lost_is_restored_from_its_backup(world):
    world.type_all("back-up")
    state = world.machines["party 1"].folder / "var/lib/privedge/party1/state"
    shares = {file.name: file.read_bytes() for file in (state / "shares").iterdir()}
    world.machines["party 1"].stop("privedge-party@1.service")
    shutil.rmtree(state)
    world.type_all("restore")
    assert {file.name: file.read_bytes() for file in (state / "shares").iterdir()} == shares
    with world.client() as client:
        answer = client.identify(world.home("client") / PICTURE, "people").answers[0]
    assert answer.owner == "ana"


def test_w66_servers_are_restarted_in_turn_and_no_query_fails(world):
    text = (ROOT / "docs/how-to/upgrade.md").read_text()
    first, pause = text.index("## Restart one server"), text.index("## A new wire")
    with Asking(world) as asking:
        for block in BLOCK.findall(text[first:pause]):
            world.type_block(block)
    assert set(asking.heard) == {"ana"}
    printed = "".join(world.type_block(block) for block in BLOCK.findall(text[pause:]))
    assert printed.endswith(f"{PICTURE}: ana\n")
