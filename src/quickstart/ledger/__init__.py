"""What we signed, what became of it, and every shannon it moved: one SQLite file per chain and wallet."""
