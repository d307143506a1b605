r"""Does the optimal learning rate of a table of runs bend? From the runs to one verdict per axis, in seven steps.

A row of the table is a run: learning rate, final loss, and where it stands (model size N, tokens D, batch, decay,
seed). Write :math:`x = \ln\eta`, and :math:`n, d` for the logarithms of N and D about the middle of the table.

1. **Table to cells.** A cell c is one setting of everything but learning rate and seed. Runs that diverged, that cannot
   belong to their cell or that lie far from the minimum are left out by stated rules; what remains is a mean loss
   :math:`y_{ci}` at each :math:`x_{ci}`. `evidence.cells.make_cells`, `evidence.cells.stack`.
2. **Walls and shapes.** Just below divergence a loss can jump far above any smooth curve through the others, and cells
   can have kinks of their own. Either all cells share one shape of the minimum, and such highest rates are left out, or
   each has its own and keeps the rates near its best one. `evidence.shapes.fit_shapes`, `evidence.walls.without_walls`,
   `evidence.windows.near_the_best`.
3. **Joint fit.** All losses lie about optima that follow one law:

   .. math::
      y_{ci} = L_c + h_c\,\phi(x_{ci} - \mu_c) + \dots, \qquad
      \mu_c = \beta_0 + \beta_n n_c + \beta_d d_c + \tfrac12\beta_{nn} n_c^2 + \tfrac12\beta_{dd} d_c^2
      + \beta_{nd} n_c d_c + u_c, \qquad u_c \sim N(0, \tau^2)

   `experiments.joint.fit.fit_jointly`, the model in `experiments.joint.model`; `scaling_law.fit_scaling_law` runs steps
   2 to 4 for the cells of one group.
4. **Optimum of each cell**, by its own losses: those :math:`\mu` whose least penalised squares stay within
   :math:`Q(\mu) - \min Q \le F_{1,\nu}(0.95)`. An optimum beyond what was tried is censored, and only bounded.
   `interval.optimum_intervals`, `optimum.judge_optimum`.
5. **Intervals of the law.** The slope :math:`\beta_n` is an exponent (`exponents.exponent_of`), :math:`\beta_{nn}` a
   curvature. Their intervals have as many degrees of freedom as the cells tell :math:`\tau` with, or average over it
   where these are few: `experiments.joint.averages`.
6. **Verdict**, the first that applies: *straight* if the 90 % interval of :math:`\beta_{nn}` lies inside
   :math:`\pm\delta`, *bends-up* or *bends-down* if the 95 % interval excludes 0, else *not-identifiable*.
   `verdict.decide`.
7. **Power.** The smallest curvature that this rule would have called by its name in 85 % of such tables. `power.power`.

`fit.fit_bend` does all of it, for every group of a table; `optimum.cell_optimum` does the fourth step for one cell
without a law. Beside the chain stand other estimators of the same curvature (`alternatives`), the same law in AdamW's
mean angle (`mean_angle`), and the comparison of two groups (`differences`).
"""
