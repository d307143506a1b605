"""Commands about one setting, or a table of them: no text, no training."""
