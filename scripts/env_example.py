"""Prints `.env.example` from the settings table; a test compares the committed file with it.

uv run python scripts/env_example.py > .env.example
"""

import sys

from quickstart.settings import env_example

if __name__ == "__main__":
    sys.stdout.write(env_example())
