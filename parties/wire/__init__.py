"""Generated from protos/parties by `make proto`: what the servers tell each other; do not edit."""
