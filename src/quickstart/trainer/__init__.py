"""A model of our own: trained, sealed, committed, revealed."""
