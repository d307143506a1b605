"""Somebody else's training run, from what is left of it: a log.

A log becomes series (`sources`), series become the history of one run with a rate at every step (`history`), and a
history is answered (`reading`): what its norms did and should have done (`norms`), how it ended, why its gradient norm
rises, whether it belongs in a fit (`verdicts`).
"""
