"""An operator's questions: what was earned, does it run, why was a target lost, where are gaps. Nothing here prints."""
