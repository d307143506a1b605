r"""The learning rate of a run that has not been made: the law of a pilot table, read at a target.

.. math::
   \ln\eta_* = x_*^\top\beta + u_*, \qquad u_* \sim N(0, \tau^2)

1. **Target.** A `target_run.TargetRun` gets a value of every axis that the table has, or is refused:
   `target_run.complete`. Axes that move together in the table become one, `target_run.independent`.
2. **Law.** `pilot_law.fit_pilot_law` fits that of `experiments.bend.scaling_law`, and refuses a table that has no slope
   along an axis. What the cells do not tell of a curvature is assumed small and said: `prediction.Coefficients`.
3. **Answer.** `PilotLaw.read` gives :math:`x_*^\top\beta` with an interval for the optimum of the target itself, its
   own scatter :math:`u_*` included, and what each axis contributes.
4. **Beside it.** Whether the norms of the pilot runs had settled, `pilot_norms`; which further cell would narrow the
   interval most, `next_run.next_runs`.

`recommendation.recommend` does all of it, for every group of a table.
"""
