"""What all rows of a file have in common, as far as anybody shows it."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Part
from privedge_lab.results.rows.values import Figure, Text, Value


@dataclass(frozen=True, kw_only=True)
class Settings(Part):
    """The settings of any experiment; each file has only some of them."""

    data: Text
    data_sha256: Text
    part: Text
    group: Text
    where: tuple[Value, ...]
    components: Figure
    steps: Figure
    engine: Text
    queries: Figure
    words: Text
    network: Text
    cut: Text
    private: Text
    repeat: Text
    asked: Figure
