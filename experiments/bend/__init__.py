"""From a user's table to a verdict."""
