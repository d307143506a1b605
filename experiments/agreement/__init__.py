"""Theory against measured trajectories."""
