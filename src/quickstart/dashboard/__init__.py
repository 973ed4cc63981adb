"""A page over ledger and chain for whoever runs this: it reads, and changes nothing."""
