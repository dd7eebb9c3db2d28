"""A party's gRPC front end: stores shares, keeps the registry, orders queries. No torch in it."""
