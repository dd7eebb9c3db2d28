"""The laboratory: baseline, attacks, evaluation, bench, demo and report.

It depends on privedge and parties, never the reverse. Nobody who serves, asks or uploads needs it.

    baseline/    the plaintext baseline: first layers on a device, one server for the rest
    disguise/    images disguised under a key, and networks trained on them
    attacks/     what an adversary makes of what it sees
    evaluation/  experiments: how well owners are told apart, what attacks reach
    results/     stored results: rows as types, and the list of experiments
    report/      one page out of stored results
    bench/       seconds, rounds and bytes of a query
    demo/        the whole system on real digits
    pages/       charts, and pages of HTML that need nothing else
    datasets.py  labelled images out of npz files
    wire/        generated from protos/privedge_lab
    cli/         the commands that this package adds to `privedge`
"""

__version__ = "0.1.0"
