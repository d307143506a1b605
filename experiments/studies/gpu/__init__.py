"""Studies for one GPU: minutes to see that it works, an hour to see something. No GPU has run them."""
