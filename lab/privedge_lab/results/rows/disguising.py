"""`attack disguising`: a row for each attack on each disguise."""

from dataclasses import dataclass

from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Figure, Text


@dataclass(frozen=True, kw_only=True)
class DisguisingRow(Row):
    """One attack, and what it reached; each has figures of its own. *_95 are 95 % intervals.

    membership             accuracy of networks, and what that of disguised images tells
    size                   accuracy of networks that learnt from `training_images`
    visual, adaptive, adaptive-network
                           share of disguised images recognised; `majority`: by guessing
    full-rank              largest error of a pixel, from the fewest pairs that tell the key
    regression, codebook, restored
                           images recovered from so many known pairs
    """

    disguise: Text
    attack: Text
    precision: Text = None
    pairs: Figure = None
    training_images: Figure = None
    seed: int | None
    task_accuracy: Figure = None
    plain_accuracy: Figure = None
    loss_points: Figure = None
    entropy: Figure = None
    least_entropy: Figure = None
    fano: Figure = None
    accuracy: Figure = None
    accuracy_95: Figure = None
    majority: Figure = None
    error: Figure = None
    known_directions: Figure = None
    hit_rate: Figure = None
    hit_rate_foreground: Figure = None
    psnr_db: Figure = None
    psnr_95: Figure = None
    ssim: Figure = None
    ssim_95: Figure = None
    images: Figure = None
