"""What happens to noisy weights: Monte Carlo of the optimizers that `theory` idealises."""

from sim.gradients import GradientNoise
from sim.monte_carlo import Simulation, simulate

__all__ = ["GradientNoise", "Simulation", "simulate"]
