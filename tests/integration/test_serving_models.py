"""Models that are no RANs, from torch to the answer: three servers, mutual TLS, bundles ahead."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from privedge import Client, Owner
from privedge.client.exchange import Asked, exchange
from privedge.errors import CheckpointError, LimitExceeded, UnknownCohort
from privedge.graph.spec import ModelSpec
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.sharing.question import Question, new_query_id
from privedge.user.served_model import Model
from tests.integration.asking import PARTIES, status, until

OWNER, CLIENT = Identity(Role.OWNER, "clinic"), Identity(Role.CLIENT, "ward")
COUNT = 24
SHAPES = {"large": (1, 28, 28), "signals": (8, 8), "wide": (1, 64, 64)}
MAIN = "from privedge.cli.main import main; main()"


def logistic() -> nn.Module:
    """Trained on pixels from 0 to 1, in some steps of the whole set."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    return fitted(model, 100, rate=0.1)


def lenet() -> nn.Module:
    torch.manual_seed(4)
    return fitted(
        nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
            nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10),
        ),
        60, rate=0.01,
    )  # fmt: skip


def large() -> nn.Module:
    """LeNet for the 28 x 28 pixels of CrypTen's own example, as torch begins with it."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    ).eval()  # fmt: skip


def signals() -> nn.Module:
    """The same pictures as eight signals of eight steps, as a sensor of eight axes has them."""
    torch.manual_seed(6)
    return fitted(
        nn.Sequential(
            nn.Flatten(1, 2), nn.Conv1d(8, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU(),
            nn.MaxPool1d(2), nn.Conv1d(16, 32, 3), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten(),
            nn.Linear(32, 10),
        ),
        60, rate=0.01,
    )[1:]  # fmt: skip


def wide() -> nn.Module:
    """Of whose windows 27 samples fill the memory that a run may take."""
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(1, 1, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32).unsqueeze(1)
    return images, torch.tensor(data.target)


def fitted(model: nn.Module, steps: int, rate: float) -> nn.Module:
    images, target = digits()
    step = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        step.zero_grad()
        nn.functional.cross_entropy(model(images[COUNT:]), target[COUNT:]).backward()
        step.step()
    return model.eval()


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    made = {"logistic": logistic(), "lenet": lenet(), "large": large(), "signals": signals()}
    return {**made, "wide": wide()}


@pytest.fixture(scope="module")
def models(networks: dict[str, nn.Module]) -> dict[str, Model]:
    return {
        name: Model.from_torch(
            networks[kind],
            SHAPES.get(kind, (1, 8, 8)),
            owner="clinic",
            name=kind,
            outputs=outputs,
            labels=tuple(map(str, range(10))) if kind == "lenet" else (),
        )
        for name, kind, outputs in (
            ("scored", "logistic", "scores"),
            ("coarse", "logistic", "rounded:2"),
            ("triage", "lenet", "label"),
            ("large", "large", "scores"),
            ("sensor", "signals", "scores"),
            ("wide", "wide", "scores"),
        )
    }


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, models: dict[str, Model]
) -> Iterator[Deployment]:
    cohorts = [
        CohortSetting(name, owners=("clinic",), spec_json=model.spec.to_json())
        for name, model in models.items()
    ]
    limited = replace(cohorts[0], name="limited", budget={"client_month": 3}, clients=("ward",))
    with Deployment(tmp_path_factory.mktemp("models"), [*cohorts, limited]) as deployment:
        owner = Owner(deployment.client_config(OWNER))
        for name, model in models.items():
            owner.upload(model, name)
        owner.upload(models["scored"], "limited")
        yield deployment


@pytest.fixture(scope="module")
def client(running: Deployment) -> Iterator[Client]:
    with Client(running.client_config(CLIENT)) as client:
        yield client


@pytest.fixture(scope="module")
def asked() -> np.ndarray:
    return digits()[0][:COUNT].numpy()


def clear(network: nn.Module, inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network(torch.from_numpy(inputs)).numpy()


def test_labels_are_those_of_torch(
    client: Client, networks: dict[str, nn.Module], asked: np.ndarray
) -> None:
    reply = client.predict(asked, "triage")
    expected = clear(networks["lenet"], asked).argmax(1)
    assert [answer.label for answer in reply.answers] == expected.tolist()
    assert [answer.name for answer in reply.answers] == [str(label) for label in expected]
    assert all(answer.scores is None for answer in reply.answers)
    assert (expected == digits()[1][:COUNT].numpy()).mean() > 0.9


def test_scores_are_those_of_torch(
    client: Client, networks: dict[str, nn.Module], asked: np.ndarray
) -> None:
    scores = np.array([answer.scores for answer in client.predict(asked, "scored").answers])
    assert np.abs(scores - clear(networks["logistic"], asked)).max() < 0.002


def test_a_lenet_of_28_by_28_answers(client: Client, networks: dict[str, nn.Module]) -> None:
    image = np.random.default_rng(6).uniform(-1, 1, (1, 1, 28, 28)).astype(np.float32)
    (answer,) = client.predict(image, "large").answers
    expected = clear(networks["large"], image)[0]
    assert np.abs(np.array(answer.scores) - expected).max() < 0.002
    assert answer.label == expected.argmax()


def test_signals_are_answered_as_by_torch(
    client: Client, networks: dict[str, nn.Module], asked: np.ndarray
) -> None:
    windows = asked[:, 0]
    answers = client.predict(windows, "sensor").answers
    expected = clear(networks["signals"], windows)
    assert np.abs(np.array([answer.scores for answer in answers]) - expected).max() < 0.002
    assert [answer.label for answer in answers] == expected.argmax(1).tolist()
    assert (expected.argmax(1) == digits()[1][:COUNT].numpy()).mean() > 0.8


def test_inputs_of_a_large_model_are_asked_in_runs_that_fit(
    running: Deployment, client: Client, networks: dict[str, nn.Module]
) -> None:
    cohort = client.describe("wide")
    assert isinstance(cohort.spec, ModelSpec) and cohort.spec.most_rows == 27
    assert cohort.max_batch == 27
    inputs = np.random.default_rng(8).uniform(-1, 1, (28, 1, 64, 64)).astype(np.float32)
    reply = client.predict(inputs, "wide")
    assert len(reply.request_ids) == 2
    scores = np.array([answer.scores for answer in reply.answers])
    assert np.abs(scores - clear(networks["wide"], inputs)).max() < 0.002
    question = Question(
        new_query_id(), "wide", cohort.snapshot_id, inputs.shape, word_bits=cohort.word_bits
    )
    with pytest.raises(LimitExceeded, match="a limit was reached"):
        exchange(client._parties, Asked(question, (28, 1), 60.0), np.zeros(inputs.shape, np.uint64))


def test_rounded_scores_are_multiples_of_a_quarter(
    client: Client, networks: dict[str, nn.Module], asked: np.ndarray
) -> None:
    scores = np.array([answer.scores for answer in client.predict(asked, "coarse").answers])
    assert (scores * 4 == np.round(scores * 4)).all()
    assert np.abs(scores - clear(networks["logistic"], asked)).max() < 0.126


def test_a_single_input_is_answered_from_a_bundle(
    running: Deployment, client: Client, asked: np.ndarray
) -> None:
    def ready() -> bool:
        return all(
            pool.ready
            for party in PARTIES
            for pool in status(running, party).pools
            if (pool.cohort, pool.batch) == ("triage", 1)
        )

    client.predict(asked[:1], "triage")
    until(ready)
    reply = client.predict(asked[:1], "triage")
    assert all(cost.offline_s > 0 for cost in reply.costs)


def test_a_budget_counts_the_rows_of_a_model(client: Client, asked: np.ndarray) -> None:
    client.predict(asked[:3], "limited")
    with pytest.raises(LimitExceeded, match="the budget is spent"):
        client.predict(asked[:1], "limited")


def test_only_its_owner_uploads_and_only_its_graph(
    running: Deployment, models: dict[str, Model]
) -> None:
    stranger = Owner(running.client_config(Identity(Role.OWNER, "somebody")))
    with pytest.raises(UnknownCohort):
        stranger.upload(replace(models["triage"], owner="somebody"), "triage")
    owner = Owner(running.client_config(OWNER))
    with pytest.raises(CheckpointError, match="let label leave, and this file says scores"):
        owner.upload(models["scored"], "triage")


def test_a_cohort_of_a_model_names_no_owner(client: Client, asked: np.ndarray) -> None:
    with pytest.raises(CheckpointError, match="serves a model, and no RANs"):
        client.identify(asked.astype(np.float32).reshape(COUNT, 64), "triage")


def test_by_command(running: Deployment, asked: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", inputs=asked[:2])
    config = running.write_client_config(CLIENT, tmp_path / "client.toml")
    command = ["query", tmp_path / "inputs.npz", "--cohort", "triage", "--config", config, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, command)],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(done.stdout)["answers"]
    assert [answer["label"] for answer in answers] == digits()[1][:2].tolist()
