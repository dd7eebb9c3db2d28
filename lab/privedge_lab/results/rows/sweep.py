"""`split sweep`: a row for each attack on each cut, defence and strength."""

from collections.abc import Mapping
from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class SweepRow(Row):
    """Reconstructions as in the attack table, or what was read off of the `private` fact.

    mean_image_*: what an attack reaches that looks at nothing.
    """

    attack: Text
    cut: Text
    defence: Text
    strength: Figure
    seed: int | None
    images: Figure
    task_accuracy: Figure
    learned: Mapping[str, Figure]
    psnr_db: Figure = None
    psnr_db_plus_minus: Figure = None
    ssim: Figure = None
    ssim_plus_minus: Figure = None
    mean_image_psnr_db: Figure = None
    mean_image_ssim: Figure = None
    private: Text = None
    attacker: Text = None
    attacker_accuracy: Figure = None
    attacker_plus_minus: Figure = None
    majority: Figure = None

    @property
    def guessed(self) -> Figure:
        """The share of private facts that the attacker got right."""
        return self.attacker_accuracy

    @property
    def floor_accuracy(self) -> Figure:
        """A sweep does not measure what the answer alone tells."""
        return None
