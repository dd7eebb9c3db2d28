"""CrypTen 0.4.1 as published, on the bench's own models: what the fused engine is measured against.

Two computing processes over gloo and CrypTen's own third process that deals, none of them ours.
Its providers give privacy away (docs/adr/0002), so this is for made-up models only: it runs in
processes of its own, `python -m privedge_lab.bench.stock`, and no party can import it.
"""
