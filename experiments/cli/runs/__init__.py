"""Commands that make runs, or read run directories."""
