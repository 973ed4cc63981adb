"""The network's protobuf messages: `soma.proto` is the source, `scripts/generate_wire.py` makes the rest."""
