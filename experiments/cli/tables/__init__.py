"""Commands that read a table of runs."""
