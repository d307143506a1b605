"""The command line: one file per command, its flags and what it does."""
