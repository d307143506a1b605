"""Studies for one GPU: minutes to see that it works, an hour to see something. An H200 has run `check` alone."""
