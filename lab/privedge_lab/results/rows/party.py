"""`attack party`: a row for each attack on each reading of each party's view."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class PartyRow(Row):
    """What one party's view ("0", "1") or that of "both" is worth: `sigmas` above guessing.

    An inversion has PSNR, an attribute attack accuracy; what guessing reaches stands beside it.
    `randomness`: who made it, if no dealer did.
    """

    attack: Text
    preset: Text
    party: Text
    reading: Text
    encoding: Text
    seed: int | None
    queries: Figure
    psnr_db: Figure = None
    accuracy: Figure = None
    plus_minus: Figure
    bound: Figure = None
    majority: Figure = None
    architecture: Text = None
    mean_image_psnr_db: Figure = None
    sigmas: Figure
    sigmas_paired: Figure = None
    randomness: Text = None
