"""From a match to money: publishing, signing, sending, claiming, and the loop that decides what to do next."""
