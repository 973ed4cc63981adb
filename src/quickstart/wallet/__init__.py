"""The wallet in a person's hands: where its key is kept, its encrypted backup, and moving what it earned elsewhere."""
