"""What is done to a running service, by kind of fault. Each drill ends with the fault mended."""
