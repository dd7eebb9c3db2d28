"""Into which of some public bins does the best score of each image fall? Of shares, as shares.

    score = best / ((1 - mean_share) * second + mean_share * mean of all d_j)

That is what the margin is compared with (docs/protocol.md#decision): an image is known if its score
is below the margin. Bin k of n counts k / n <= score < (k + 1) / n. So sums over many images tell
which part of them would be known at which margin. Nothing is opened here but under masks.

    1.  the best, and the runners-up that it beat        5 rounds for each level of 16 owners
    2.  the sum of all d_j, if the mean counts           1 round
    3.  [score < k / n] for all k at once                4 rounds; 5 for more than 16 owners
    4.  local: bin k = [score < (k + 1) / n] - [score < k / n]
"""

import torch

from parties.mpc.decision import MARGIN_STEPS, Decision, RuleConstants
from parties.mpc.engine import Engine, T


def edges(bins: int) -> list[int]:
    """Where each bin but the last ends, in steps of 1 / MARGIN_STEPS."""
    return [round(MARGIN_STEPS * k / bins) for k in range(1, bins)]


def sorted_into(
    engine: Engine[T], distances: T, bins: int, mean_share: float, rivals: T | None = None
) -> T:
    """Returns (B, bins) integers, one-hot.

    distances: (B, N) at 2f.
    rivals: (B, M) at 2f, dissimilarities to public models; they may be second, and never best.

    There must be two owners, or one and a rival.
    """
    owners = distances.size(1)
    decision = Decision(engine, margin=1.0)
    # 1. The score is below an edge if the best passes against every runner-up, because one of them
    #    is the second best.
    best, others = decision.best(distances)
    if rivals is not None:
        others = engine.joined([others, rivals], 1)
    rules = [RuleConstants.of(edge / MARGIN_STEPS, mean_share, owners) for edge in edges(bins)]
    # 2. Every edge has its own share of the same sum.
    total = decision.summed(distances) if any(rule.mean for rule in rules) else None
    # 3. All comparisons are one call.
    below = engine.negative(
        engine.joined([_gap(engine, best, others, total, rule).unsqueeze(1) for rule in rules], 1)
    )
    passed = _all_of(engine, below)
    # 4. Local. Below the end of the last bin is every score.
    step = torch.zeros(bins - 1, bins, dtype=torch.int64)
    step[range(bins - 1), range(bins - 1)] = 1
    step[range(bins - 1), range(1, bins)] = -1
    last = torch.zeros(bins, dtype=torch.int64)
    last[-1] = 1
    return engine.plus(engine.combination(passed, step), last)


def _gap(engine: Engine[T], best: T, others: T, total: T | None, rule: RuleConstants) -> T:
    """(B, R), below 0 where the best is below the bound that this rule makes of each other."""
    shape = others.size()
    gap = engine.scaled(best, MARGIN_STEPS).unsqueeze(1).expand(*shape) - engine.scaled(
        others, rule.second
    )
    if total is not None and rule.mean:
        gap = gap - engine.scaled(total, rule.mean).unsqueeze(1).expand(*shape)
    found: T = gap
    return found


def _all_of(engine: Engine[T], bits: T) -> T:
    """(B, E, R) of 0 or 1 -> (B, E): whether all R are 1. One round, or none for R = 1."""
    batch, count, needed = bits.size()
    if needed == 1:
        only: T = bits.reshape(batch, count)
        return only
    failed = engine.plus(engine.scaled(bits.sum(2), -1), torch.tensor(needed))
    nothing = bits.reshape(batch * count, needed)[:, :0]
    passed, _ = engine.chosen(failed.reshape(-1), nothing, below=needed + 1, places=1)
    found: T = passed.reshape(batch, count)
    return found
