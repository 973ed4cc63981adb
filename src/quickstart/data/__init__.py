"""Sources of data, windows cut from them, filters and provenance."""
