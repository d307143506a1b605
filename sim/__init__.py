"""What happens to noisy weights: Monte Carlo of the optimizers that `theory` idealises."""

from sim.gradients import GradientNoise
from sim.noise import Simulation, SimulationOutcome, simulate

__all__ = ["GradientNoise", "Simulation", "SimulationOutcome", "simulate"]
