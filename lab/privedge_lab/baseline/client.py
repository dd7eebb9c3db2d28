"""Ask the split server what images show: image -> head and defence -> server -> label.

    from privedge_lab.baseline.client import SplitClient

    with SplitClient.from_file("split-client.toml") as client:
        reply = client.ask("digit.png")
        print(reply.labels[0])

Sees the device's own images, head and key. The server sees in the clear what this module sends:
only the head's defence protects the images from the server.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from time import perf_counter

import numpy as np
import torch

from privedge.config import StrPath, load
from privedge.errors import ManifestMismatch, ShareError
from privedge.identity.roles import Role
from privedge.ran.inputs import Pictures, given
from privedge.ran.spec import ImageShape
from privedge.rpc import codec
from privedge.rpc.channel import open_as, peer_name
from privedge.rpc.chunks import cut
from privedge.rpc.status import calls_to
from privedge.sharing.cost import Cost
from privedge_lab.baseline import codec as split_codec
from privedge_lab.baseline.codec import Floats, Served
from privedge_lab.baseline.config import SplitClientConfig
from privedge_lab.baseline.head_file import load_head, load_key
from privedge_lab.baseline.network import sent_shape
from privedge_lab.baseline.spec import NetworkSpec
from privedge_lab.wire import split_pb2 as pb
from privedge_lab.wire import split_pb2_grpc


@dataclass(frozen=True)
class SplitReply:
    """The label of each image, and the cost of the whole call.

    `seconds` is the time of the exchange, as in a private Reply. `device_s` is the time of head and
    defence on this device. `cost` is reported by the server. The bytes are those of activations and
    of answers.
    """

    labels: tuple[int, ...]
    seconds: float
    device_s: float
    cost: Cost
    bytes_sent: int
    bytes_received: int

    def plus(self, other: "SplitReply") -> "SplitReply":
        """Return both together as one reply."""
        return SplitReply(
            self.labels + other.labels,
            self.seconds + other.seconds,
            self.device_s + other.device_s,
            self.cost.plus(other.cost),
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
        )


class SplitClient:
    """A device, connected to the split server. Use as a context manager, or call `close`."""

    def __init__(self, config: SplitClientConfig) -> None:
        """Load head and key, and open a connection.

        Raises ConfigError or CertificateError, or CheckpointError for the head or the key.
        """
        self._head = load_head(config.head)
        self._device = self._head.device(load_key(config.key))
        self._timeout_s = config.rpc_timeout_s
        self._name = peer_name(Role.SPLIT, config.server)
        self._served: Served | None = None
        self._channel = open_as(config, config.server, Role.SPLIT)
        self._stub = split_pb2_grpc.SplitStub(self._channel)

    @staticmethod
    def from_file(path: StrPath) -> "SplitClient":
        """Make a client from a configuration file. Raises as the constructor does."""
        return SplitClient(load(SplitClientConfig, path))

    def __enter__(self) -> "SplitClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection."""
        self._channel.close()

    def describe(self) -> Served:
        """Ask what the server runs. Raises ManifestMismatch if it is not this head's tail."""
        with calls_to(self._name):
            message = self._stub.Describe(pb.DescribeSplitRequest(), timeout=self._timeout_s)
        served = split_codec.served_from_wire(message)
        shape = sent_shape(self._head.spec, self._head.cut)
        mine = (self._head.tail, self._head.cut, shape, self._head.spec.classes)
        if (served.tail, served.cut, served.sent_shape, served.classes) != mine:
            raise ManifestMismatch(
                f"{self._name}: does not run the tail of this head; get the head and key that "
                "were trained with it"
            )
        self._served = served
        return served

    def ask(self, images: Pictures) -> SplitReply:
        """Ask what these images show.

        images: as for a private Client, of any size; they are scaled to the network's. Raises
        ImageError, and the error of the server's refusal.
        """
        pixels = _pixels(images, self._head.spec)
        served = self._served or self.describe()
        try:
            replies = [self._exchange(part, served) for part in pixels.split(served.max_batch)]
        except ShareError:
            self.describe()  # raises ManifestMismatch if the server runs another tail by now
            raise
        return reduce(SplitReply.plus, replies)

    def _exchange(self, pixels: torch.Tensor, served: Served) -> SplitReply:
        begun = perf_counter()
        sent = np.ascontiguousarray(self._device.send(pixels).numpy())
        raw = split_codec.activations_to_bytes(sent)
        started = perf_counter()
        with calls_to(self._name):
            call = self._stub.Predict(_requests(served, sent, raw), timeout=self._timeout_s)
            header = next(call, pb.PredictResponse()).header
            received = b"".join(response.values for response in call)
        seconds = perf_counter() - started
        labels = split_codec.labels_from_answer(header, received, served, len(sent))
        return SplitReply(
            tuple(int(label) for label in labels),
            seconds,
            started - begun,
            codec.cost_from_wire(header.cost),
            len(raw),
            len(received),
        )


def _requests(served: Served, sent: Floats, raw: bytes) -> Iterator[pb.PredictRequest]:
    yield pb.PredictRequest(header=split_codec.asked_to_wire(served.tail, sent.shape))
    for piece in cut(raw):
        yield pb.PredictRequest(activations=piece)


def _pixels(images: Pictures, spec: NetworkSpec) -> torch.Tensor:
    """float32 (n, C, H, W) in [0, 1]."""
    channels, height, width = spec.input
    shape = ImageShape(height=height, width=width, channels=3 if channels == 3 else 1)
    found = given(images, shape)
    channelled = found[:, None] if found.ndim == 3 else found.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(channelled)).float() / 255
