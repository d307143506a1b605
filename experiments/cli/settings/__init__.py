"""Commands that need no run: the closed form and its simulation."""
