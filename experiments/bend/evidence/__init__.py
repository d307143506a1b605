"""From runs to cells: which losses of a table count, which are left out and why, and whether its cells share a shape."""
