"""Who may call which method of the split server. Nobody may call a method that is not listed."""

from collections.abc import Mapping

from privedge.identity.roles import Role
from privedge.rpc.access import STANDARD

ACCESS: Mapping[str, frozenset[Role]] = {
    "/privedge.v1.Split/Describe": frozenset({Role.CLIENT}),
    "/privedge.v1.Split/Predict": frozenset({Role.CLIENT}),
    **STANDARD,
}
