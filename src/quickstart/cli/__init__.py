"""The commands people type: arguments in, rendering out, exit codes. No decisions are made here."""
