"""Telling a person elsewhere what needs them: what is wrong, each thing once until it is over."""
