"""From runs to cells: which losses count, which are left out and why, and whether its cells share a shape."""
