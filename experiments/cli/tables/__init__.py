"""Commands that read a user's table."""
