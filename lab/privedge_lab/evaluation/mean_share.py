"""What the rule for "unknown" compares the best error with: public constants, no secrets.

    known = best < margin * ((1 - mean_share) * second + mean_share * mean)

second is the second best error, mean that of all owners of the cohort. The mean says how hard an
image is for everybody; second alone says how near the nearest other owner is.
"""

# Chosen on validation images of letters and faces; 0 is the second best alone
# (docs/results/evaluation.md#how-the-presets-were-chosen).
MEAN_SHARE = 0.35
