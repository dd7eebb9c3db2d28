"""Helpers for tests that query a running deployment."""

from collections.abc import Callable
from contextlib import closing
from itertools import count
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parties.mpc.network import Network
from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, Deployment
from privedge.ran import features
from privedge.rpc.channel import open_channel, open_party
from privedge.sharing.fixed_point import encode
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc
from privedge_lab.reference.clear import ClearEngine

CLIENT = Identity(Role.CLIENT, "carla")
PARTIES = (Role.PARTY0, Role.PARTY1)
# A try takes processor time from the servers that are waited for, so there are a few a second.
TRIES, PAUSE_S = 6_000, 0.03
STAYS = 20


def config(
    deployment: Deployment, who: Identity = CLIENT, *, retries: int = 0, **changes: float
) -> ClientConfig:
    """Nothing is tried again unless a test says so: it would hide what a test looks for."""
    return deployment.client_config(who, retries=retries, **changes)


def client(deployment: Deployment, **changes: Any) -> Client:
    return Client(config(deployment, **changes))


def stub(deployment: Deployment, party: Role, who: Identity = CLIENT) -> party_pb2_grpc.PartyStub:
    return party_pb2_grpc.PartyStub(open_party(config(deployment, who), party))


def status(deployment: Deployment, party: Role) -> pb.StatusResponse:
    with closing(open_party(config(deployment, ADMIN), party)) as channel:
        return party_pb2_grpc.PartyStub(channel).Status(pb.StatusRequest(), timeout=10)


def health(deployment: Deployment, server: Role, service: str = "") -> int | None:
    """None while the server starts, which is before it says anything of a service by name."""
    channel = open_channel(deployment.address(server), server=server, tls=deployment.tls(ADMIN))
    with closing(channel):
        check = health_pb2_grpc.HealthStub(channel).Check
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            return check(request, timeout=60, wait_for_ready=True).status
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            return None


def until(condition: Callable[[], bool]) -> None:
    """Ask live servers until they say so."""
    pause = Event()
    for _ in range(TRIES):
        if condition():
            return
        pause.wait(PAUSE_S)
    pytest.fail("it did not come to be")


def pools(deployment: Deployment, party: Role) -> dict[int, tuple[int, int]]:
    """Batch size -> ready, wanted."""
    return {each.batch: (each.ready, each.wanted) for each in status(deployment, party).pools}


def until_full(deployment: Deployment, bundles: int, batch: int = 1) -> None:
    """Both parties have, and want, `bundles` for queries of `batch` images."""
    want, times = (bundles, bundles), count()

    def stays_full() -> bool:
        nonlocal times
        if not all(pools(deployment, party).get(batch) == want for party in PARTIES):
            times = count()
        return next(times) == STAYS

    # A worker tells its front end after the query that took one: what is full stays so.
    until(stays_full)


def clear_distances(rans: list[Ran], images: np.ndarray) -> np.ndarray:
    """(images, owners) sums of squared errors at 2f, by the plaintext fixed-point model."""
    spec = rans[0].spec
    stacked = {
        name: torch.from_numpy(
            encode(np.stack([ran.parameters[name] for ran in rans])).view(np.int64)
        )
        for name in spec.parameters()
    }
    values = encode(features.extract(spec, images))
    network = Network(spec, stacked, ClearEngine())
    distances: np.ndarray = network.dissimilarity(torch.from_numpy(values.view(np.int64))).numpy()
    return distances
