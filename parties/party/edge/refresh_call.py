"""Asks a running party 0, on its own host and with its own certificate, to refresh the shares."""

from contextlib import closing

from parties.config.party import PartyConfig
from privedge.errors import ConfigError
from privedge.identity.roles import Identity, Role
from privedge.rpc.channel import open_channel, peer_name
from privedge.rpc.status import calls_to
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc

# Every share is read and written once. Party 0 goes on if this command does not wait.
_LONGEST_S = 3600.0
# What a server listens on is not always what it can be reached at.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104


def refresh(config: PartyConfig, cohort: str = "") -> int:
    """How many models have new shares; `cohort`: only that one. Raises ConfigError, Refused."""
    if config.index != 0:
        raise ConfigError("index: only party 0 refreshes shares; party 1 takes part by itself")
    host, _, port = config.listen.rpartition(":")
    address = f"{_LOOPBACK.get(host, host)}:{port}"
    claim = Identity(Role.PARTY0, Role.PARTY0.value)
    channel = open_channel(address, server=Role.PARTY0, tls=config.tls, claim=claim)
    with closing(channel), calls_to(peer_name(Role.PARTY0, address)):
        request = pb.RefreshSharesRequest(cohort=cohort)
        response = party_pb2_grpc.PartyStub(channel).RefreshShares(request, timeout=_LONGEST_S)
        return int(response.models)
