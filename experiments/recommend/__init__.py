"""The fitted law read at a run that has not been made."""
