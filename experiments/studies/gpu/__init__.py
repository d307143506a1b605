"""Studies for one GPU: minutes to see that it works, an hour to see something. Of these an H200 has run `check` (`docs/gpu-check`)."""
