"""Correlated randomness that the two parties make themselves, without a dealer (docs/adr/0046).

Experimental: not reviewed from outside. Private against one party that follows the protocol, with
any number of malicious clients; a party that deviates may learn what is not meant for it.

    base_ot     128 oblivious transfers on a curve
    punctured   trees of seeds, of which the other party has all leaves but one
    extension   from both, any number of random oblivious transfers, with a consistency check
    keys        what both ends have of those: bits and hashed keys
    lookup      one of 2^k messages from k of them
    role        what both roles compute on shares of bits and numbers
    kinds       each kind of tuple, written once for both roles
    making      the messages of one lot of tuples
    ring        polynomials modulo X^8192 + 1 and 2^216
    encrypted   products with weights that were sent once, encrypted

No module here sends anything: each step takes the other party's bytes and returns its own.
"""
