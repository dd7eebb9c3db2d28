"""deploy/container and deploy/compose, as far as files can show it: no engine is needed."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from parties.__main__ import _parser
from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from parties.serving.lifecycle import _GRACE_S
from privedge.config import load

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "deploy/compose"
CONTAINERFILE = (ROOT / "deploy/container/Containerfile").read_text()
ROLES = ("party0", "party1", "dealer")


def service(role):
    return yaml.safe_load((COMPOSE / f"{role}.yaml").read_text())["services"][role]


def with_options(text):
    """`text` with the lines that an operator may switch on: those after a # without a space."""
    return re.sub(r"^( *)#(?=[^ #\n])", r"\1", text, flags=re.MULTILINE)


def config(role):
    return load(DealerConfig if role == "dealer" else PartyConfig, COMPOSE / f"{role}.toml")


def lines(instruction):
    joined = CONTAINERFILE.replace("\\\n", " ")
    return re.findall(rf"^{instruction} +(.*)$", joined, re.MULTILINE)


def test_the_image_is_built_in_two_stages_of_a_base_with_a_version_and_runs_as_nobody():
    bases = [line.split()[0] for line in lines("FROM")]
    assert len(bases) == 2 and set(bases) == {"python:3.11-slim-bookworm"}
    assert lines("USER") == ["10001:10001"]
    assert not lines("ADD")
    last = CONTAINERFILE.rpartition("\nFROM ")[2]
    assert "COPY --from=build" in last and "COPY . " not in last and "pip install" not in last


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, [".[party]", "./parties"]),
        ({"OTEL": "yes"}, [".[party,otel]", "./parties"]),
        ({"OTEL": "", "POSTGRES": "yes"}, [".[party]", "./parties[postgres]"]),
    ],
)
def test_build_arguments_add_what_only_some_need(arguments, wanted):
    assert set(arguments) <= {line.partition("=")[0] for line in lines("ARG")}
    install = next(line for line in lines("RUN") if "pip install" in line)
    shown = install.replace("python -m venv", ":").replace("/opt/privedge/bin/pip", "echo")
    done = subprocess.run(
        ["sh", "-ec", shown], env=arguments, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[0].split()[-2:] == wanted


def test_the_image_knows_how_to_ask_for_its_health_and_how_to_start():
    (health,) = lines("HEALTHCHECK")
    command = json.loads(health.partition("CMD ")[2])
    assert command[:3] == ["python", "-m", "parties"]
    assert _parser().parse_args(command[3:]).alive
    assert json.loads(lines("ENTRYPOINT")[0]) == ["python", "-m", "parties"]


def test_what_is_copied_into_the_build_is_there_and_holds_no_secret():
    ignore = (ROOT / "deploy/container/Containerfile.dockerignore").read_text().splitlines()
    taken = [line[1:] for line in ignore if line.startswith("!")]
    assert ignore[1] == "*" and all((ROOT / name).exists() for name in taken)
    assert {"pyproject.toml", "requirements.lock", "parties", "privedge"} <= set(taken)


@pytest.mark.parametrize("role", ROLES)
def test_a_container_may_do_little(role):
    made = service(role)
    assert made["read_only"] is True and made["cap_drop"] == ["ALL"]
    assert made["security_opt"] == ["no-new-privileges:true"]
    assert made["user"] == "10001:10001"
    assert made["mem_limit"] and made["pids_limit"]
    forbidden = {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"}
    assert not forbidden & made.keys()
    grace = re.fullmatch(r"(\d+)s", made["stop_grace_period"])
    assert grace and int(grace[1]) > 2 * _GRACE_S
    assert _parser().parse_args(made["command"]).server == (
        "dealer" if role == "dealer" else "party"
    )


@pytest.mark.parametrize("role", ROLES)
def test_a_container_has_the_files_and_ports_of_its_configuration(role):
    made, wanted = service(role), config(role)
    targets = {volume.split(":")[1] for volume in made["volumes"]}
    assert "/var/cache/privedge" in targets
    ports = {str(port).split(":")[-1] for port in made["ports"]}
    listens = [wanted.listen]
    if role != "dealer":
        assert any(wanted.state.is_relative_to(target) for target in targets)
        listens += [wanted.mpc.listen] if wanted.mpc.listen else []
    assert ports == {address.rpartition(":")[2] for address in listens}
    (secret,) = made["secrets"]
    assert wanted.tls.key == Path("/run/secrets") / secret["target"]
    read_only = [volume for volume in made["volumes"] if volume.startswith("./")]
    assert read_only and all(volume.endswith(":ro") for volume in read_only)


@pytest.mark.parametrize("role", ROLES)
def test_metrics_need_no_more_than_to_be_switched_on(role):
    fields = tomllib.loads(with_options((COMPOSE / f"{role}.toml").read_text()))
    assert fields["metrics"] == {"listen": "0.0.0.0:9464", "readers": ["prometheus"]}
    made = yaml.safe_load(with_options((COMPOSE / f"{role}.yaml").read_text()))
    assert made["services"][role]["ports"] == [*service(role)["ports"], "9464:9464"]


def test_the_operators_files_say_the_same_of_each_other():
    party0, party1, dealer = map(config, ROLES)
    assert party0.cohorts == party1.cohorts
    assert party0.dealer == party1.dealer
    assert party0.dealer.address.rpartition(":")[2] == dealer.listen.rpartition(":")[2]
    assert party0.peer.address.rpartition(":")[2] == party1.listen.rpartition(":")[2]
    assert party0.mpc.address.rpartition(":")[2] == party1.mpc.listen.rpartition(":")[2]


def test_together_each_pair_has_a_network_and_finds_the_names_of_the_configuration():
    every = yaml.safe_load((COMPOSE / "all.yaml").read_text())
    pairs = {"party0-party1", "party0-dealer", "party1-dealer"}
    assert set(every["networks"]) == pairs
    assert all(network == {"internal": True} for network in every["networks"].values())
    called = {"party0-party1": "party1", "party0-dealer": "dealer", "party1-dealer": "dealer"}
    for role, made in every["services"].items():
        assert {name for name in made["networks"] if name in pairs} == {
            pair for pair in pairs if role in pair.split("-")
        }
    for pair, server in called.items():
        aliases = every["services"][server]["networks"][pair]["aliases"]
        caller = config(pair.split("-")[0])
        dialled = caller.peer if server == "party1" else caller.dealer
        assert dialled.address.rpartition(":")[0] in aliases


def test_the_files_of_two_operators_share_nothing():
    files = [yaml.safe_load((COMPOSE / f"{role}.yaml").read_text()) for role in ROLES]
    for kind in ("services", "volumes", "secrets", "networks"):
        names = [name for file in files for name in file.get(kind, {})]
        assert len(names) == len(set(names)), kind
