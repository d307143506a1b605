"""Which losses of a table count, and whether its cells share a shape."""
