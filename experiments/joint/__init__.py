"""The joint model of all losses of a table, and how it is solved: shape, regressors, mixed model, fit."""
