"""Figures of an identification: from errors of every owner's model on every image asked.

Errors are sums of squared differences, float64 (n, owners), lower is likelier; labels are numbers
of owners, int64 (n,), -1 for nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from privedge.arrays import Labels
from privedge_lab.evaluation.mean_share import MEAN_SHARE
from privedge_lab.results.rows.identify import Known
from privedge_lab.results.rows.scores import OwnerScore, Scores
from privedge_lab.results.rows.values import Confusion

Errors = npt.NDArray[np.float64]

_TOP = 3
# Halves of the owners drawn to be registered, of which the mean is taken.
_HALVES = 4
# Errors of nothing at all divide nothing by nothing.
_TINY = 1e-12


@dataclass(frozen=True)
class Figures:
    """Macro precision and recall (of owners that are asked about), accuracy, the confusion matrix
    (row: whose it is, column: what was answered, the last for nobody) and each owner's figures.
    """

    macro_precision: float
    macro_recall: float
    accuracy: float
    per_owner: tuple[OwnerScore, ...]
    confusion: Confusion

    @property
    def scores(self) -> Scores:
        """The means alone."""
        return Scores(
            macro_precision=self.macro_precision,
            macro_recall=self.macro_recall,
            accuracy=self.accuracy,
        )


def figures(truth: Labels, answers: Labels, owners: Sequence[str]) -> Figures:
    """How well `answers` fit `truth`: numbers of owners, int64 (n,) both."""
    numbers = list(range(len(owners)))
    precision, recall, _, count = precision_recall_fscore_support(
        truth, answers, labels=numbers, zero_division=0
    )
    asked = count > 0
    confusion = confusion_matrix(truth, answers, labels=[*numbers, -1])[:-1]
    named = zip(owners, precision, recall, count, confusion.sum(axis=0), strict=False)
    return Figures(
        float(precision[asked].mean()),
        float(recall[asked].mean()),
        float((truth == answers).mean()),
        tuple(
            OwnerScore(
                owner=owner,
                precision=float(exact),
                recall=float(found),
                asked=int(asked_of),
                answered=int(answered),
            )
            for owner, exact, found, asked_of, answered in named
        ),
        tuple(tuple(int(each) for each in line) for line in confusion),
    )


def top(errors: Errors, truth: Labels) -> float:
    """Share of images whose owner is among the three of least error."""
    best = np.argsort(errors, axis=1, kind="stable")[:, :_TOP]
    return float((best == truth[:, None]).any(axis=1).mean())


def known(errors: Errors, truth: Labels, thresholds: Errors, seed: int) -> Known:
    """Half of the owners registered, the others strangers; mean over halves drawn by `seed`.

    auroc_known       of the best error over a mix of the second best and the mean of all owners',
                      which the parties go by with this `mean_share`
    auroc_margin      of best / second best error, their rule without it (privedge.sharing.known)
    auroc_mean        of best / mean error
    auroc_best        of the best error alone
    precision         of images that pass the best owner's own threshold, the share that is of a
                      registered owner
    recall            of images of registered owners, the share that passes
    false_accept      of images of strangers, the share that passes
    """
    rows = [
        _known(errors[:, half], np.isin(truth, half), thresholds[half])
        for half in halves(errors.shape[1], seed)
    ]
    return Known(**{name: float(np.mean([row[name] for row in rows])) for name in rows[0]})


def halves(owners: int, seed: int) -> list[Labels]:
    """Numbers of the owners that are registered, in several draws of half of them."""
    rng = np.random.default_rng(seed)
    return [np.sort(rng.permutation(owners)[: owners // 2 or 1]) for _ in range(_HALVES)]


def _known(errors: Errors, registered: npt.NDArray[np.bool_], thresholds: Errors) -> dict[str, Any]:
    best = errors.argmin(axis=1)
    least = errors.min(axis=1)
    second = np.partition(errors, 1, axis=1)[:, 1] if errors.shape[1] > 1 else least + 1
    mean = errors.mean(axis=1)
    mixed = (1 - MEAN_SHARE) * second + MEAN_SHARE * mean
    passes = least < thresholds[best]
    return {
        "auroc_known": roc_auc_score(registered, -least / np.maximum(mixed, _TINY)),
        "auroc_margin": roc_auc_score(registered, -least / np.maximum(second, _TINY)),
        "auroc_mean": roc_auc_score(registered, -least / np.maximum(mean, _TINY)),
        "auroc_best": roc_auc_score(registered, -least),
        "precision": registered[passes].mean() if passes.any() else 0.0,
        "recall": passes[registered].mean(),
        "false_accept": passes[~registered].mean(),
    }


def voted(errors: Errors, truth: Labels, pages: Labels, words: int) -> tuple[Errors, Labels]:
    """Errors summed over `words` images of one page, and whose each such group is.

    Images of a page are taken in the order given; what is left over at its end is not asked.
    """
    sums, owners = [], []
    for owner, page in sorted({(int(o), int(p)) for o, p in zip(truth, pages, strict=True)}):
        mine = errors[(truth == owner) & (pages == page)]
        whole = len(mine) // words * words
        sums.append(mine[:whole].reshape(-1, words, errors.shape[1]).sum(axis=1))
        owners += [owner] * (whole // words)
    return np.concatenate(sums), np.array(owners, np.int64)
