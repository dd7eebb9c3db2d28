"""deploy/kubernetes: what the manifests allow and ask for. kubectl is used where it is."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from parties.__main__ import _parser
from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from parties.serving.lifecycle import _GRACE_S
from privedge.config import TracesSection, load

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "deploy/kubernetes"
ROLES = ("party0", "party1", "dealer")
# Where each operator's manifests say that the others are.
ADDRESSES = {"party0": "192.0.2.10/32", "party1": "192.0.2.11/32", "dealer": "192.0.2.12/32"}
ANYBODY = "0.0.0.0/0"


def with_options(text):
    """`text` with the lines that an operator may switch on: those after a # without a space."""
    return re.sub(r"^( *)#(?=[^ #\n])", r"\1", text, flags=re.MULTILINE)


def documents(role, options=False):
    """Every object of one operator by its kind, read in the order of its kustomization."""
    listed = yaml.safe_load((FOLDER / role / "kustomization.yaml").read_text())["resources"]
    assert {*listed, "kustomization.yaml"} == {file.name for file in (FOLDER / role).iterdir()}
    texts = [(FOLDER / role / name).read_text() for name in listed]
    texts = [with_options(text) for text in texts] if options else texts
    found = [each for text in texts for each in yaml.safe_load_all(text)]
    by_kind = {each["kind"]: each for each in found}
    assert len(by_kind) == len(found)
    return by_kind


@pytest.fixture(params=ROLES)
def role(request):
    return request.param


@pytest.fixture
def objects(role):
    return documents(role)


@pytest.fixture
def pod(objects):
    server = objects.get("StatefulSet") or objects["Deployment"]
    assert server["spec"]["replicas"] == 1
    return server["spec"]["template"]["spec"]


@pytest.fixture
def container(pod):
    (container,) = pod["containers"]
    assert not pod.get("initContainers")
    return container


def config_of(role, tmp_path):
    (tmp_path / "server.toml").write_text(documents(role)["ConfigMap"]["data"]["server.toml"])
    kind = DealerConfig if role == "dealer" else PartyConfig
    return load(kind, tmp_path / "server.toml")


def ports_of(config):
    """The ports on which a server listens, by the names that the manifests give them."""
    addresses = {"listen": config.listen}
    if getattr(config, "mpc", None) and config.mpc.listen:
        addresses["mpc"] = config.mpc.listen
    return {name: int(address.rpartition(":")[2]) for name, address in addresses.items()}


def rules(policy, direction, peers):
    """(who, port) of every TCP rule; "the cluster" for its name server."""
    return {
        (peer.get("ipBlock", {}).get("cidr", "the cluster"), port["port"])
        for rule in policy["spec"][direction]
        for peer in rule[peers]
        for port in rule["ports"]
        if port["protocol"] == "TCP"
    }


def test_a_pod_is_as_restricted_as_its_namespace_asks(objects, pod, container):
    labels = objects["Namespace"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert pod["automountServiceAccountToken"] is False
    assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_commands_and_probes_are_those_of_the_server(role, pod, container):
    assert _parser().parse_args(container["args"]).server == role.rstrip("01")
    for probe, alive in (
        ("startupProbe", True),
        ("livenessProbe", True),
        ("readinessProbe", False),
    ):
        command = container[probe]["exec"]["command"]
        assert command[:3] == ["python", "-m", "parties"]
        asked = _parser().parse_args(command[3:])
        assert asked.alive is alive and asked.config == Path("/etc/privedge/server.toml")
        assert container[probe]["timeoutSeconds"] > asked.within
    assert pod["terminationGracePeriodSeconds"] > 2 * _GRACE_S


def test_w11_the_configuration_names_files_that_are_mounted_and_a_key_that_may_be_read(
    role, pod, container, tmp_path
):
    config = config_of(role, tmp_path)
    mounts = {each["name"]: Path(each["mountPath"]) for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes["certs"]["secret"]["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]
    for path in (*config.tls.trusted, config.tls.certificate, config.tls.key):
        assert path.parent == mounts["certs"]
    if role != "dealer":
        assert config.state.is_relative_to(mounts["state"])
    assert {"name": "CACHE_DIRECTORY", "value": str(mounts["cache"])} in container["env"]


def test_every_port_of_the_configuration_is_open_at_each_step_and_no_other(
    role, objects, container, tmp_path
):
    ports = ports_of(config_of(role, tmp_path))
    assert {each["name"]: each["containerPort"] for each in container["ports"]} == ports
    assert {each["name"]: each["port"] for each in objects["Service"]["spec"]["ports"]} == ports
    assert {port for _, port in rules(objects["NetworkPolicy"], "ingress", "from")} == set(
        ports.values()
    )


def test_a_policy_lets_in_and_out_whom_the_configuration_needs_and_nobody_else(tmp_path):
    policies = {role: documents(role)["NetworkPolicy"] for role in ROLES}
    for policy in policies.values():
        assert policy["spec"]["podSelector"] == {}
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    allowed_in = {role: rules(policies[role], "ingress", "from") for role in ROLES}
    assert allowed_in == {
        "party0": {(ANYBODY, 7000)},
        "party1": {(ANYBODY, 7001), (ADDRESSES["party0"], 7100)},
        "dealer": {(ADDRESSES["party0"], 7002), (ADDRESSES["party1"], 7002)},
    }
    for role in ROLES:
        config = config_of(role, tmp_path)
        dialled = {}
        if role != "dealer":
            dialled["dealer"] = [config.dealer.address]
        if role == "party0":
            dialled["party1"] = [config.peer.address, config.mpc.address]
        wanted = {
            (ADDRESSES[other], int(address.rpartition(":")[2]))
            for other, addresses in dialled.items()
            for address in addresses
        }
        name_server = {("the cluster", 53)} if wanted else set()
        assert rules(policies[role], "egress", "to") == wanted | name_server


def opened(role, direction, peers):
    """What the options of a policy add: (namespace or address, protocol and port)."""
    rule_lists = [
        documents(role, options)["NetworkPolicy"]["spec"][direction] for options in (True, False)
    ]
    added = [rule for rule in rule_lists[0] if rule not in rule_lists[1]]
    assert [rule for rule in rule_lists[0] if rule not in added] == rule_lists[1]
    return {
        (yaml.safe_dump(peer).split()[-1], f"{port['protocol']} {port['port']}")
        for rule in added
        for peer in rule[peers]
        for port in rule["ports"]
    }


def test_metrics_need_no_more_than_to_be_switched_on(role, container):
    """For a namespace of the same operator. The service does not have the port: the world can
    reach it."""
    objects = documents(role, options=True)
    fields = tomllib.loads(objects["ConfigMap"]["data"]["server.toml"])
    assert fields["metrics"] == {"listen": "0.0.0.0:9464", "readers": ["prometheus"]}
    server = objects.get("StatefulSet") or objects["Deployment"]
    (made,) = server["spec"]["template"]["spec"]["containers"]
    assert made["ports"] == [*container["ports"], {"name": "metrics", "containerPort": 9464}]
    assert opened(role, "ingress", "from") == {("monitoring", "TCP 9464")}
    assert objects["Service"] == documents(role)["Service"]


def test_a_collector_of_traces_and_a_database_can_be_reached_once_switched_on(role):
    fields = tomllib.loads(documents(role, options=True)["ConfigMap"]["data"]["server.toml"])
    traces = TracesSection.model_validate(fields["traces"])
    assert ".monitoring:4318/" in traces.endpoint
    wanted = {("monitoring", "TCP 4318")}
    if role == "dealer":  # it needs no name server otherwise
        wanted |= {("kube-system", "UDP 53"), ("kube-system", "TCP 53")}
    else:
        wanted.add(("192.0.2.20/32", "TCP 5432"))
    assert opened(role, "egress", "to") == wanted


def test_nothing_secret_is_in_a_manifest(objects):
    assert "Secret" not in objects
    assert set(objects["ConfigMap"]["data"]) == {"server.toml"}
    assert "PRIVATE KEY" not in yaml.safe_dump(objects)


def test_a_party_keeps_its_state_when_its_pod_goes(role, objects):
    if role == "dealer":
        assert objects["Deployment"]["spec"]["strategy"] == {"type": "Recreate"}
    else:
        claims = objects["StatefulSet"]["spec"]["volumeClaimTemplates"]
        assert {claim["metadata"]["name"] for claim in claims} == {"state", "cache"}
        # Readiness needs the other party, which needs this service.
        assert objects["Service"]["spec"]["publishNotReadyAddresses"] is True
    budget, service = objects["PodDisruptionBudget"]["spec"], objects["Service"]["spec"]
    assert budget["maxUnavailable"] == 0
    assert budget["selector"]["matchLabels"] == service["selector"] == {"app": role}


def test_both_parties_have_the_same_cohorts():
    cohorts = [
        tomllib.loads(documents(role)["ConfigMap"]["data"]["server.toml"])["cohorts"]
        for role in ROLES[:2]
    ]
    assert cohorts[0] == cohorts[1]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")
def test_kustomize_puts_every_object_into_the_operators_namespace(role):
    built = subprocess.run(
        ["kubectl", "kustomize", FOLDER / role], capture_output=True, text=True, check=True
    )
    made = list(yaml.safe_load_all(built.stdout))
    assert len(made) == len(documents(role))
    for each in made:
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "privedge"
