"""What an operator asks: what was earned, is it running, why was a target lost, where are the gaps. Nothing here prints."""
