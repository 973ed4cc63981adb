"""Regenerates `src/quickstart/wire/soma_pb2.py` and `.pyi` from `soma.proto`.

Run it after a change of the `.proto`: `uv run python scripts/generate_wire.py`. No service stubs are made:
the devnet registers generic handlers by method path."""

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

WIRE = Path(__file__).resolve().parents[1] / "src" / "quickstart" / "wire"
GENERATED = ("soma_pb2.py", "soma_pb2.pyi")


def generate(into: Path) -> None:
    """Writes both generated files into the folder `into`.

    Raises:
        RuntimeError: the compiler refused the `.proto`.
    """
    includes = Path(protoc.__file__).parent / "_proto"
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    arguments = [
        "protoc",
        f"-I{WIRE}",
        f"-I{includes}",
        f"--plugin=protoc-gen-mypy={plugin}",
        f"--python_out={into}",
        f"--mypy_out=quiet:{into}",
        "soma.proto",
    ]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc refused soma.proto")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        for name in GENERATED:
            (WIRE / name).write_bytes((Path(folder) / name).read_bytes())
            print(f"wrote {WIRE / name}")


if __name__ == "__main__":
    main()
