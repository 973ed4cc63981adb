"""What is set up wrong, and what mends it: checks of everything that a run rests on, each independent of the others."""
