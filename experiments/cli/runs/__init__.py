"""Commands that make or read runs."""
