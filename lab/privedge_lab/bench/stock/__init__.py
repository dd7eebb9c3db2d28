"""CrypTen 0.4.1 as published, on the bench's own models: the baseline of the fused engine.

Two processes compute over gloo, and CrypTen's own third process deals; none of them is ours.
CrypTen's providers give privacy away (docs/adr/0002), so this is only for synthetic models. It runs
in processes of its own, `python -m privedge_lab.bench.stock`, and no party can import it.
"""
