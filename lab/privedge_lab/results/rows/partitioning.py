"""`attack partitioning`: a row for each seed and strength."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class PartitioningRow(Row):
    """What the strongest attacker reads of a private fact, with and without the defence.

    The file's settings name the network, the cut and the fact.
    """

    defence: Text
    strength: Figure
    seed: int | None
    images: Figure
    task_accuracy: Figure
    attacker: Text
    attacker_accuracy: Figure
    attacker_accuracy_hindsight: Figure
    floor_accuracy: Figure
    majority: Figure
    # Of the images that the strongest attacker reconstructs; files of older versions lack them.
    reconstructor: Text = None
    psnr_db: Figure = None
    ssim: Figure = None
    mean_image_psnr_db: Figure = None
    mean_image_ssim: Figure = None

    @property
    def guessed(self) -> Figure:
        """The share of private facts that the attacker got right."""
        return self.attacker_accuracy
