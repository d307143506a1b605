"""Made sweeps with a known truth, and what the estimators do on them."""
