r"""The joint model of all losses of a table, and how it is solved.

.. math::
   y_{ci} = L_c + h_c\,\phi(x_{ci} - \mu_c) + t_c (x_{ci} - \bar x_c) + \epsilon_{ci}, \qquad
   \mu_c = X_c\beta + u_c

`model` declares it. `loss_shape` is :math:`\phi`, `regressors.Regressors` is X. Linearised about where it stands it is
a linear mixed model, which `mixed_model.solve` solves from sums over each cell. `fit.fit_jointly` repeats the two until
nothing moves, with the variances that `restricted` finds; `averages` gives the intervals of :math:`\beta`,
Student's t or averaged over the scatter :math:`\tau`. `regression.regress` is what is left of all this where each cell
has one number: weighted least squares.
"""
