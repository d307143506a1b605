"""What happens to noisy weights: Monte Carlo of the optimizers that `theory` idealises."""

from sim.noise import Simulation, SimulationOutcome, simulate

__all__ = ["Simulation", "SimulationOutcome", "simulate"]
