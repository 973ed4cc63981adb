"""The evaluation contract: what "score" means, and engines that agree on it (`soma-protocol` §13)."""
