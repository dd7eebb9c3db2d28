"""Serve the tail of a cut network, for comparison with private prediction.

Anyone who runs this server SEES the activations of every image, and can reconstruct images from
them (docs/explanation/baseline.md). Only the devices' own defence protects the images.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from parties.config.server import require_said_twice
from parties.memory import keep_freed_pages
from parties.serving.certificate_watch import watch_certificates
from parties.serving.lifecycle import add_health, add_reflection, run_until_told
from parties.serving.metrics import Metrics
from privedge.config import load
from privedge.identity.roles import Role
from privedge.log import configure
from privedge.rpc.about import add_about
from privedge.rpc.admission import Quota
from privedge.rpc.server import build_server
from privedge.rpc.tls import require_role
from privedge.traces import start as start_traces
from privedge_lab.baseline.model_file import load_tail
from privedge_lab.baseline.serving.access import ACCESS
from privedge_lab.baseline.serving.config import SplitConfig
from privedge_lab.baseline.serving.predictor import Predictor
from privedge_lab.baseline.serving.servicer import SplitServicer, served_by
from privedge_lab.wire import split_pb2, split_pb2_grpc

log = logging.getLogger(__name__)

SPLIT_SERVICE = split_pb2.DESCRIPTOR.services_by_name["Split"].full_name


def quotas_of(config: SplitConfig) -> Mapping[str, Quota]:
    """Return the places of single methods."""
    limits = config.limits
    predictions = Quota(
        "queries", limits.max_queries, limits.max_queries_per_client, 2 * config.query_deadline_s
    )
    return {"/privedge.v1.Split/Predict": predictions}


def serve_split(config: SplitConfig) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises ConfigError, CertificateError or CheckpointError if the server cannot start.
    """
    require_role(config.tls, Role.SPLIT)
    tail = load_tail(config.tail)
    served = served_by(config, tail)
    metrics = Metrics("split", config)
    server, port = build_server(
        config.listen,
        tls=config.tls,
        access=ACCESS,
        quotas=quotas_of(config),
        rules=config.caller_rules,
        ended=metrics.call_ended,
    )
    with Predictor(tail) as predictor:
        servicer = SplitServicer(config, served, predictor)
        split_pb2_grpc.add_SplitServicer_to_server(servicer, server)
        statuses = add_health(server)
        add_about(server)
        add_reflection(server, [SPLIT_SERVICE])
        server.start()
        watch_certificates(config.tls)
        statuses.set_serving(("", SPLIT_SERVICE), True)
        log.warning("split: plaintext baseline: this server sees activations; nothing is private")
        log.info("split: %s cut at %s, ready on port %d", tail.spec.name, tail.cut, port)
        with metrics.served():
            run_until_told(server, statuses)


def main(config_file: Path, insecure: bool) -> None:
    """Run `python -m parties split --config FILE`, called by the entry point `privedge.servers`."""
    config = load(SplitConfig, config_file)
    if config.log_format == "json":
        configure(json_of="split")
    start_traces("split", config.traces)
    require_said_twice(config, config_file, insecure)
    keep_freed_pages()
    serve_split(config)
