"""What is claimed, in the words of docs/explanation/threat-model.md (a test compares the two)."""

CLAIM = (
    "Privacy holds as long as party 0 and party 1 do not work together, and the dealer works "
    "together with neither."
)
OPERATORS = (
    "These are three operators: three organisations, or at least three administrators with "
    "separate machines, keys, backups and cloud accounts. Two parties run by one operator protect "
    "nothing from that operator. The same is true of a dealer run by an operator of a party."
)
SEMI_HONEST = (
    "The parties are semi-honest: they follow the protocol and may try to learn from all that they "
    "see. Against one curious party, with any number of malicious owners and clients beside it, "
    "models and queries stay private. So they do against a curious dealer."
)
DEVIATES = "A party that deviates is outside the claim"

SEES_TITLES = ("who", "sees", "never sees", "must not collude with")
SEES = (
    (
        "owner",
        "own images, own model (RAN)",
        "other owners' images and models, queries, answers",
        "nobody",
    ),
    ("client", "own image, its answer", "models, other clients' images", "nobody"),
    (
        "party 0, party 1",
        "one additive share of every model, query and answer; openings masked by uniform words; "
        "the metadata",
        "images, weights, dissimilarities, labels",
        "each other, the dealer",
    ),
    (
        "dealer",
        "shapes, kinds and counts of operations, seeds of masks, the random ids of queries that it "
        "serves",
        "shares, openings, weights, images, labels, names, ids of models",
        "either party",
    ),
    (
        "split server (a baseline, not part of the above)",
        "activations of every image, in the clear; labels; who asks when",
        "the head's weights, the defence's key",
        "protects nothing by itself",
    ),
    ("network", "addresses, times, lengths of TLS records", "everything inside", ""),
)
