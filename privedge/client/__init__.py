"""(5) The client (querier): sees its own image and the answer."""
