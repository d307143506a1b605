"""What happens to noisy weights: Monte Carlo of the optimizers that `theory` idealises."""

import os

from theory.checks import InvalidParameter

given = os.environ.get("NUMBA_NUM_THREADS", "")
if given and not given.strip().isdecimal():  # Numba warns at length and goes on with all cores
    raise InvalidParameter("NUMBA_NUM_THREADS", given, "unset or a number of threads")

try:
    from sim.gradients import GradientNoise
    from sim.monte_carlo import Simulation, simulate
except ValueError as error:  # Numba's, as soon as it is imported
    if not given:
        raise
    raise InvalidParameter("NUMBA_NUM_THREADS", given, f"unset or a number of threads ({error})") from None

__all__ = ["GradientNoise", "Simulation", "simulate"]
