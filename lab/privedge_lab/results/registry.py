"""Every experiment that stores results: the type of its rows, and where a report shows them."""

from collections.abc import Mapping
from dataclasses import dataclass

from privedge_lab.results.rows.attributes import AttributesRow
from privedge_lab.results.rows.bench import (
    MemoryRow,
    PeerRow,
    ProductRow,
    QueryRow,
    ThroughputRow,
    TrainRow,
    UploadRow,
)
from privedge_lab.results.rows.bias import BiasRow
from privedge_lab.results.rows.disguising import DisguisingRow
from privedge_lab.results.rows.extraction import ExtractionRow
from privedge_lab.results.rows.fairness import FairnessRow
from privedge_lab.results.rows.identify import IdentifyRow
from privedge_lab.results.rows.inversion import InversionRow
from privedge_lab.results.rows.inversion_settings import InversionSettingRow
from privedge_lab.results.rows.membership import MembershipRow
from privedge_lab.results.rows.original import OriginalRow
from privedge_lab.results.rows.partitioning import PartitioningRow
from privedge_lab.results.rows.party import PartyRow
from privedge_lab.results.rows.robustness import RobustnessRow
from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.scale import ScaleRow
from privedge_lab.results.rows.signals import SignalsRow
from privedge_lab.results.rows.sweep import SweepRow


@dataclass(frozen=True)
class Experiment:
    """How the results of one experiment are read and shown.

    row               the type of its rows
    section           the name of the report's section about it
    pictured          it leaves pictures, which its section shows
    drawn_by_report   the names of those that the report leaves out, for it draws their rows itself
    printed           the key of its rows in what `privedge bench --json` prints, beside the
                      processor; others are stored in files
    """

    row: type[Row]
    section: str
    pictured: bool = False
    drawn_by_report: frozenset[str] = frozenset()
    printed: str | None = None


# By the name that is stored. Where several pictured experiments share a folder, a picture without
# the name of one goes to the first of them here.
EXPERIMENTS: Mapping[str, Experiment] = {
    "identify": Experiment(IdentifyRow, "owners"),
    "robustness": Experiment(RobustnessRow, "conditions"),
    "bias": Experiment(BiasRow, "conditions"),
    "scale": Experiment(ScaleRow, "scale"),
    "fairness": Experiment(FairnessRow, "fairness"),
    "original": Experiment(OriginalRow, "original"),
    "party": Experiment(PartyRow, "parties"),
    "membership": Experiment(MembershipRow, "parties"),
    "extraction": Experiment(ExtractionRow, "parties"),
    "attack table": Experiment(
        InversionRow,
        "inversion",
        pictured=True,
        drawn_by_report=frozenset({"depth.png", "dense-layer.png", "defences.png"}),
    ),
    "inversion": Experiment(InversionSettingRow, "inversion"),
    "disguising": Experiment(DisguisingRow, "disguising", pictured=True),
    "sweep": Experiment(SweepRow, "inversion", pictured=True),
    "signals": Experiment(SignalsRow, "signals"),
    "attributes": Experiment(AttributesRow, "attributes"),
    "partitioning": Experiment(PartitioningRow, "attributes"),
    "bench query": Experiment(QueryRow, "costs", printed="engines"),
    "bench throughput": Experiment(ThroughputRow, "costs", printed="throughput"),
    "bench upload": Experiment(UploadRow, "costs", printed="uploads"),
    "bench memory": Experiment(MemoryRow, "costs", printed="deployments"),
    "bench train": Experiment(TrainRow, "costs", printed="trainings"),
    "bench products": Experiment(ProductRow, "costs", printed="rows"),
    "bench peers": Experiment(PeerRow, "costs", printed="rows"),
}
# What `privedge bench --json` prints, by the key of its rows; two can share one.
PRINTED: Mapping[str, tuple[str, ...]] = {
    key: tuple(name for name, each in EXPERIMENTS.items() if each.printed == key)
    for key in dict.fromkeys(each.printed for each in EXPERIMENTS.values())
    if key is not None
}
