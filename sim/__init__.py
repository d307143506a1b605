"""What happens to noisy weights: Monte Carlo of the optimizers that `theory` idealises."""

import os

from theory.checks import InvalidParameter

try:
    from sim.gradients import GradientNoise
    from sim.monte_carlo import Simulation, simulate
except ValueError as error:  # Numba's, as soon as it is imported
    if "NUMBA_NUM_THREADS" not in os.environ:
        raise
    given = os.environ["NUMBA_NUM_THREADS"]
    raise InvalidParameter("NUMBA_NUM_THREADS", given, f"unset or a number of threads ({error})") from None

__all__ = ["GradientNoise", "Simulation", "simulate"]
