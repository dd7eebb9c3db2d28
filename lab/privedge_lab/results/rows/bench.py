"""`privedge bench ... --json`: a row for each thing measured (docs/results/bench.md)."""

from collections.abc import Mapping
from dataclasses import dataclass

from privedge_lab.results.rows.row import Part, Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class PhaseFigures(Part):
    """Rounds and bytes of one phase of the protocol."""

    name: Text
    rounds: Figure
    bytes_to_peer: Figure


@dataclass(frozen=True, kw_only=True)
class PartyFigures(Part):
    """One party's own account of a query."""

    queue_s: Figure
    load_s: Figure
    online_s: Figure
    bytes_to_peer: Figure
    bytes_from_dealer: Figure


@dataclass(frozen=True, kw_only=True)
class QueryRow(Row):
    """What a private query cost at one engine, and whether it was right."""

    engine: Text
    preset: Text
    owners: Figure
    batch: Figure
    queries: Figure
    cold_s: Figure
    median_s: Figure
    p95_s: Figure
    wall_s: Figure
    online_s: Figure
    online_p95_s: Figure
    offline_s: Figure
    rounds: Figure
    phases: tuple[PhaseFigures, ...]
    bytes_per_party: Figure
    dealer_bytes_per_party: Figure
    offline_cpu_s: Figure
    cpu_s: Figure
    client_cpu_s: Figure
    cpu_by_process_s: Mapping[str, Figure]
    agreement: Figure
    agreeing: Figure
    ties: Figure
    differing: Figure
    parties: tuple[PartyFigures, ...]
    pool: Text
    rtt_ms: Figure
    ratio: Figure
    randomness: Text = None
    bytes_offline: Figure = None


@dataclass(frozen=True, kw_only=True)
class ThroughputRow(Row):
    """Queries a second that many clients at once get answered."""

    engine: Text
    preset: Text
    owners: Figure
    clients: Figure
    seconds: Figure
    batching_delay_ms: Figure
    queries: Figure
    queries_per_s: Figure
    median_s: Figure
    p95_s: Figure
    cpu_s: Figure
    client_cpu_s: Figure
    cpu_by_process_s: Mapping[str, Figure]
    agreement: Figure


@dataclass(frozen=True, kw_only=True)
class UploadRow(Row):
    """How fast shares travel. Medians; MB are 10^6 bytes; `both_mb_s` counts both shares."""

    preset: Text
    repeats: Figure
    share_mb: Figure
    one_party_mb_s: Figure
    both_mb_s: Figure
    whole_s: Figure


@dataclass(frozen=True, kw_only=True)
class ProcessMemory(Part):
    """One process. `rss_mb` counts shared libraries in full, `uss_mb` only its own pages."""

    process: Text
    rss_mb: Figure
    uss_mb: Figure


@dataclass(frozen=True, kw_only=True)
class MemoryRow(Row):
    """One deployment. A party is its front end and its workers together."""

    preset: Text
    owners: Figure
    at_rest: tuple[ProcessMemory, ...]
    after_a_query: tuple[ProcessMemory, ...]
    party_at_rest_mb: Mapping[str, Figure]
    party_after_a_query_mb: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True)
class TrainRow(Row):
    """Median seconds to train one owner's model, feature maps and validation included."""

    preset: Text
    owners: Figure
    images: Figure
    steps: Figure
    seconds: Figure


@dataclass(frozen=True, kw_only=True)
class ProductRow(Row):
    """One product of 64-bit integers, by torch itself and as parties compute it. Figures are
    10^9 multiplications of the plain map a second, counted alike for both.
    """

    shape: Text
    kind: Text
    torch_int64_gmacs: Figure
    ours_gmacs: Figure


@dataclass(frozen=True, kw_only=True)
class PeerRow(Row):
    """A query that makes all it needs while it runs, of ours or of others. Median seconds; bytes
    both ways, a dealer's too; `max_error` is that of the mean squared errors.
    """

    system: Text
    preset: Text
    owners: Figure
    seconds: Figure
    bytes: Figure
    max_error: Figure
