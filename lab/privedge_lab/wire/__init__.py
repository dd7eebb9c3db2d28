"""Generated from protos/privedge_lab; nothing is written by hand."""
