"""`attack table`: a row for each attack on each cut and defence."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class InversionRow(Row):
    """How like the originals the reconstructions are; *_plus_minus are 95 % intervals."""

    attack: Text
    cut: Text
    defence: Text
    strength: Figure
    seed: int | None
    psnr_db: Figure
    psnr_db_plus_minus: Figure
    ssim: Figure
    ssim_plus_minus: Figure
    images: Figure
    task_accuracy: Figure
    cpu_s: Figure
