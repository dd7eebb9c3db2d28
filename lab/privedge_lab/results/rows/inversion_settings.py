"""`attack inversion`: a row for each setting of He et al.'s table at each cut."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class InversionSettingRow(Row):
    """How like the originals the reconstructions are, and what the paper has; see InversionRow."""

    setting: Text
    network: Text
    cut: Text
    seed: int | None
    psnr_db: Figure
    psnr_db_plus_minus: Figure
    ssim: Figure
    ssim_plus_minus: Figure
    images: Figure
    task_accuracy: Figure
    cpu_s: Figure
    paper_psnr_db: Figure
    paper_ssim: Figure
