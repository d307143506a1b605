"""From a file or a folder to a `raw_log.RawLog`: `detect` tells what it is, a module for each kind reads it."""
