"""privedge: private prediction with secret-shared one-class models.

A folder is a trust domain or a crossing between two; read them in the order of a query's life:

    ran/        the model: public facts (spec, presets, feature maps) and plain torch
    user/       1. an owner's device: sees plaintext images, trains a RAN, splits and uploads it
    sharing/    2. the crossing: plaintext in, shares out (and back)
    identity/   who somebody is: roles, names and the development certificate authority
    wire/       generated from protos/
    rpc/        3. the network edge: TLS, access, codecs, statuses
    mpc/        4. what the parties and the dealer compute: sees shares only
    client/     5. who asks: sees its own image and the answer
    reference/  the protocol in the clear, for tests and figures: no server may import it
    local/      all three operators on one machine (`privedge up`), to try out, measure and test
    cli/        the command `privedge`
"""

__version__ = "0.1.0"
