"""Short ways for tests to ask a running deployment."""

import numpy as np
import torch

from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, Deployment
from privedge.mpc.clear import ClearEngine
from privedge.mpc.network import Network
from privedge.ran import features
from privedge.rpc.channel import open_party
from privedge.sharing.fixed_point import encode
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc

CLIENT = Identity(Role.CLIENT, "carla")
PARTIES = (Role.PARTY0, Role.PARTY1)


def config(deployment: Deployment, who: Identity = CLIENT, **changes: float) -> ClientConfig:
    return deployment.client_config(who, **changes)


def client(deployment: Deployment, **changes: float) -> Client:
    return Client(config(deployment, **changes))


def stub(deployment: Deployment, party: Role, who: Identity = CLIENT) -> party_pb2_grpc.PartyStub:
    return party_pb2_grpc.PartyStub(open_party(config(deployment, who), party))


def status(deployment: Deployment, party: Role) -> pb.StatusResponse:
    return stub(deployment, party, ADMIN).Status(pb.StatusRequest(), timeout=10)


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
