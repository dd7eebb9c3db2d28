"""privedge: private prediction with secret-shared one-class models.

    from privedge import Client, Owner, Ran, train, errors

`__all__` is the public interface; everything else is internal and may change in any version.
Nothing heavy is loaded before a name is used, and only `train` loads torch. Import privedge before
grpc, which reads its minimum TLS version when it is imported (rpc/tls_floor.py).

A folder is a trust domain or a crossing between two. Numbers give the order in a query's life:

    graph/      the graph of a model that is no RAN, as data
    ran/        the model: public facts (spec, presets, feature maps) and plain torch
    user/       1. an owner's device: sees plaintext images, trains a RAN, splits and uploads it
    sharing/    2. the crossing: splits plaintext into shares, and combines shares
    identity/   roles, names and the development certificate authority
    wire/       generated from protos/
    rpc/        3. the network edge: TLS, access, codecs, statuses
    client/     4. the client (querier): sees its own image and the answer
    local/      all three servers on one machine (`privedge up`), to try out, measure and test
    cli/        the command `privedge`

What the parties and the dealer compute is `parties.mpc`, and the same computation in the clear, for
tests and figures, is `privedge_lab.reference`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from privedge.rpc import tls_floor as tls_floor

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Answer",
    "Client",
    "ClientConfig",
    "Cohort",
    "Cost",
    "Exposure",
    "Flaw",
    "Model",
    "ModelFacts",
    "ModelSpec",
    "Owner",
    "Prediction",
    "Predictions",
    "Ran",
    "RanSpec",
    "Receipt",
    "Reply",
    "__version__",
    "check_quality",
    "errors",
    "preset",
    "train",
]

if TYPE_CHECKING:
    from privedge import errors
    from privedge.client.answers import Answer, Reply
    from privedge.client.cohort import Cohort
    from privedge.client.predictions import Prediction, Predictions
    from privedge.client.query import Client
    from privedge.config import ClientConfig
    from privedge.graph.spec import ModelSpec
    from privedge.ran.presets import PRESETS, preset
    from privedge.ran.quality import Flaw
    from privedge.ran.spec import RanSpec
    from privedge.sharing.cost import Cost
    from privedge.user.checkpoint import Ran
    from privedge.user.owner import Owner
    from privedge.user.party import Exposure, ModelFacts
    from privedge.user.quality import check_quality
    from privedge.user.served_model import Model
    from privedge.user.train import train
    from privedge.user.upload import Receipt
else:
    _HOME = {
        "PRESETS": "privedge.ran.presets",
        "Answer": "privedge.client.answers",
        "Client": "privedge.client.query",
        "ClientConfig": "privedge.config",
        "Cohort": "privedge.client.cohort",
        "Cost": "privedge.sharing.cost",
        "Flaw": "privedge.ran.quality",
        "Exposure": "privedge.user.party",
        "Model": "privedge.user.served_model",
        "ModelSpec": "privedge.graph.spec",
        "Prediction": "privedge.client.predictions",
        "Predictions": "privedge.client.predictions",
        "ModelFacts": "privedge.user.party",
        "Owner": "privedge.user.owner",
        "Ran": "privedge.user.checkpoint",
        "RanSpec": "privedge.ran.spec",
        "Receipt": "privedge.user.upload",
        "Reply": "privedge.client.answers",
        "check_quality": "privedge.user.quality",
        "preset": "privedge.ran.presets",
        "train": "privedge.user.train",
    }

    def __getattr__(name: str) -> object:
        if name == "errors":
            return import_module("privedge.errors")
        if name not in _HOME:
            raise AttributeError(f"module 'privedge' has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_HOME[name]), name)
        return found

    def __dir__() -> list[str]:
        return __all__
