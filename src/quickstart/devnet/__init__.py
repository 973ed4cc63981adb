"""An embedded SOMA network that the unmodified soma-sdk works with: a pure chain state machine, and its
servers.

    config ─> genesis ─> ChainState ──check, execute, advance_epoch──> Effects ──> index (lags) ──> services,
        front
                              ▲                                                │
                journal (every input, before the reply) <── node <── audit ────┘ (re-scores fills, files
                    reports)

`state`, `staging`, `execution`, `rules/`, `epochs`, `genesis` and `decoding` are pure: no sockets, clocks or
randomness, time is an argument. `node` is the only place that changes a chain; it writes the journal first.
"""
