"""Many runs for one question: studies, adaptive grids, plans, sweeps."""
