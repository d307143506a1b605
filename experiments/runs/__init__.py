"""One run: its config, its directory, how it is produced, on this machine or on a cluster."""
