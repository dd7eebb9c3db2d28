"""`split signals`: a row for each attack on each network and strength."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Flag, Text


@dataclass(frozen=True, kw_only=True)
class SignalsRow(Row):
    """What dropping costs a task of signals and its device, and what an attack still gets.

    `quality` is the accuracy of a classification, R squared of a regression (`measure` says which);
    `holds` whether the counting condition does. `device_us` are microseconds of one core for one
    signal, `multiplications` those of the head.
    """

    task: Text
    network: Text
    strength: Figure
    attack: Text
    seed: int | None
    repeat: Text
    inputs: Figure
    outputs: Figure
    kept: Figure
    holds: Flag
    measure: Text
    quality: Figure
    signals: Figure
    psnr_db: Figure
    psnr_db_plus_minus: Figure
    correlation: Figure
    correlation_plus_minus: Figure
    device_us: Figure
    sent_bytes: Figure
    signal_bytes: Figure
    head_bytes: Figure
    multiplications: Figure
