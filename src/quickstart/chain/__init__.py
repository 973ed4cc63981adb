"""The network as soma-sdk shows it, and the transactions we send to it."""
