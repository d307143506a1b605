"""Hostile commands, damaged files, kills and small disks, tried at random: `make fuzz`."""

import os

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # as a command sets it: torch reads it when it is loaded
