"""Where scoring runs: asked for with `spawn`, collected with `poll`."""
