"""`split train`, `python -m parties split` and `split query`, as users run them."""

import json
import socket
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.identity.roles import Role
from privedge.rpc.channel import open_channel
from privedge.rpc.health import serves
from privedge_lab.baseline.spec import Conv, Linear, NetworkSpec, Plain

pytestmark = pytest.mark.mpc

SPEC = NetworkSpec(
    name="digits",
    input=(1, 8, 8),
    mean=(0.5,),
    std=(0.5,),
    classes=10,
    layers=(
        Conv(name="conv1", inputs=1, outputs=8, kernel=3, padding=1),
        Plain(name="relu1", kind="relu"),
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=512, outputs=10),
    ),
)
TEST = 40


@pytest.fixture(scope="module")
def images():
    data = load_digits()
    return np.rint(data.images * (255 / 16)).astype(np.uint8), data.target


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def privedge(*arguments: object) -> str:
    done = CliRunner().invoke(build(), [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.exception
    return done.stdout


def tls_table(files) -> str:
    names = ("ca", "certificate", "key")
    lines = (f"{name} = {json.dumps(str(getattr(files, name)))}" for name in names)
    return "\n".join(["[tls]", *lines]) + "\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, images, tls_for):
    """Trained files, and configuration of a server and of a device."""
    folder = tmp_path_factory.mktemp("split")
    pixels, labels = images
    held_out = np.arange(len(pixels)) < TEST
    np.savez(folder / "digits.npz", images=pixels, labels=labels, is_test=held_out)
    (folder / "spec.json").write_text(SPEC.to_json())
    made = json.loads(
        privedge(
            "split", "train", folder / "digits.npz", "--network", folder / "spec.json",
            "--cut", "relu1", "--defence", "gaussian", "--strength", 0.1, "--epochs", 4,
            "--out", folder, "--json",
        )
    )  # fmt: skip
    assert made["test_images"] == TEST
    address = f"127.0.0.1:{free_port()}"
    (folder / "server.toml").write_text(
        f'listen = "{address}"\ntail = "digits.tail"\nadmins = ["kim"]\n'
        f"{tls_table(tls_for(Role.SPLIT))}"
    )
    (folder / "device.toml").write_text(
        f'server = "{address}"\nhead = "digits.head"\nkey = "digits.key"\n'
        f"{tls_table(tls_for(Role.CLIENT, 'ward-3'))}"
    )
    (folder / "address").write_text(address)
    for index in range(4):
        Image.fromarray(pixels[index]).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def server(folder, tls_for):
    command = [sys.executable, "-m", "parties", "split", "--config", folder / "server.toml"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    address, tls = (folder / "address").read_text(), tls_for(Role.ADMIN, "kim")
    try:
        with closing(open_channel(address, server=Role.SPLIT, tls=tls)) as channel:
            assert serves(channel, "privedge.v1.Split", within_s=60), (folder / "log").read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def test_digits_are_labelled_and_the_costs_are_told_as_of_a_private_query(folder, server, images):
    files = [folder / f"{index}.png" for index in range(4)]
    answer = json.loads(
        privedge("split", "query", *files, "--config", folder / "device.toml", "--json")
    )
    assert sum(a == b for a, b in zip(answer["answers"], images[1], strict=False)) >= 3
    assert answer["bytes_sent"] == 4 * 4 * 8 * 8 * 8 and answer["bytes_received"] == 4 * 4
    (cost,) = answer["parties"]
    assert 0 < cost["online_s"] <= answer["seconds"]
    assert set(cost) == {
        "rounds", "bytes_to_peer", "bytes_from_dealer", "queue_s", "load_s", "online_s",
        "offline_s", "phases",
    }  # fmt: skip
    text = privedge("split", "query", files[0], "--config", folder / "device.toml")
    assert text == f"{files[0]}: {answer['answers'][0]}\n"
    server.terminate()
    assert server.wait(30) == 0
    said = (folder / "log").read_text()
    assert "sees activations" in said
    assert "ward-3" not in said and "4 images in" in said


def test_a_server_that_is_given_a_devices_file_does_not_start(folder, tmp_path):
    text = (folder / "server.toml").read_text()
    config = tmp_path / "server.toml"
    config.write_text(text.replace("digits.tail", str(folder / "digits.head")))
    command = [sys.executable, "-m", "parties", "split", "--config", config]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "give the .tail file" in ended.stderr and ended.stderr.count("\n") == 1
