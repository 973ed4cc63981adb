"""A small app that the tests of the stand-in deploy."""
