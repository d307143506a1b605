"""Numbers of the pages in `docs` are those of the tables beside them."""
