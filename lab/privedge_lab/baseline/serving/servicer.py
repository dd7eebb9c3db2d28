"""The contract of split.proto: decode, check, compute, encode. Sees activations in the clear.

Nothing about an activation or an answer is logged or stored, except how many images there were and
how long they took.
"""

import logging
import math
from collections.abc import Iterator

import grpc

from privedge.errors import ConfigError, LimitExceeded, ShareError
from privedge.rpc import codec
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.rpc.time_limit import given_up_after, timely
from privedge.sharing.cost import Cost
from privedge_lab.baseline import codec as split_codec
from privedge_lab.baseline.codec import Floats, Served
from privedge_lab.baseline.model_file import Tail
from privedge_lab.baseline.network import sent_shape
from privedge_lab.baseline.serving.config import SplitConfig
from privedge_lab.baseline.serving.predictor import Predictor
from privedge_lab.wire import split_pb2 as pb
from privedge_lab.wire import split_pb2_grpc

log = logging.getLogger(__name__)


def served_by(config: SplitConfig, tail: Tail) -> Served:
    """Return what to tell clients.

    Raises ConfigError if a single image exceeds the limits, or for a regression.
    """
    if tail.spec.regression:
        raise ConfigError(
            f"{config.tail}: predicts a value, and this server answers with classes; serve a "
            "classification"
        )
    shape = sent_shape(tail.spec, tail.cut)
    most = (config.limits.max_query_mib << 20) // (split_codec.VALUE_BYTES * math.prod(shape))
    if most < 1:
        raise ConfigError(
            "limits.max_query_mib: less than one image's activations; cut the network elsewhere "
            "or raise it"
        )
    return Served(
        tail=tail.digest,
        cut=tail.cut,
        sent_shape=shape,
        classes=tail.spec.classes,
        max_batch=min(config.limits.max_batch, most),
        answers=config.answers,
    )


class SplitServicer(split_pb2_grpc.SplitServicer):
    """Serve clients."""

    def __init__(self, config: SplitConfig, served: Served, predictor: Predictor) -> None:
        self._deadline_s = config.query_deadline_s
        self._served = served
        self._predictor = predictor

    def Describe(
        self, request: pb.DescribeSplitRequest, context: grpc.ServicerContext
    ) -> pb.DescribeSplitResponse:
        """Return the public facts of this server."""
        return split_codec.served_to_wire(self._served)

    def Predict(
        self, request_iterator: Iterator[pb.PredictRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.PredictResponse]:
        """Answer a batch with labels or logits."""
        deadline = Deadline.of(context, at_most_s=self._deadline_s)
        activations = self._read(timely(request_iterator, deadline.remaining(), context))
        job = self._predictor.start(activations)
        if not context.add_callback(job.cancel):
            job.cancel()
        predicted = job.result(deadline)
        shape, values = split_codec.answers_to_bytes(predicted.logits, self._served.answers)
        log.info("%d images in %.1f ms", len(activations), 1e3 * predicted.online_s)
        cost = Cost(queue_s=predicted.queue_s, online_s=predicted.online_s)
        header = pb.PredictedHeader(
            shape=shape,
            kind=split_codec.kind_to_wire(self._served.answers),
            cost=codec.cost_to_wire(cost),
        )
        with given_up_after(self._deadline_s, context):
            yield pb.PredictResponse(header=header)
            for piece in cut(values):
                yield pb.PredictResponse(values=piece)

    def _read(self, requests: Iterator[pb.PredictRequest]) -> Floats:
        """Read and check the activations of a call. Raises ShareError or LimitExceeded."""
        first = next(requests, pb.PredictRequest())
        if first.WhichOneof("part") != "header":
            raise ShareError("predict: the first message must be the header")
        tail, shape = split_codec.asked_from_wire(first.header)
        if tail != self._served.tail:
            raise ShareError("predict: tail_sha256 is not that of this server's tail")
        if shape[1:] != self._served.sent_shape:
            raise ShareError("predict: its shape is not that of activations at this cut")
        if shape[0] > self._served.max_batch:
            raise LimitExceeded(f"predict: at most {self._served.max_batch} images at once")
        expected = split_codec.VALUE_BYTES * math.prod(shape)
        received = bytearray()
        for request in requests:
            if not request.activations:
                raise ShareError("predict: only bytes may follow the header")
            received += request.activations
            if len(received) > expected:
                break
        return split_codec.activations_from_bytes(received, shape)
