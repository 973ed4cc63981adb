"""Plain gRPC to a node, for the calls that the SDK does not make or does not show whole."""

from urllib.parse import urlsplit

import grpc


def channel_to(rpc_url: str) -> grpc.aio.Channel:
    """A channel to the node at `rpc_url`, encrypted for https; it connects with its first call."""
    parts = urlsplit(rpc_url)
    address = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    if parts.scheme == "https":
        return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials())
    return grpc.aio.insecure_channel(address)
