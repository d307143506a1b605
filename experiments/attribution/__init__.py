r"""Which part of a bend is whose: the optima of several arms under one law.

.. math::
   \ln\eta_{*,ac} = X_c\beta_a + e_{ac}, \qquad \mathrm{bend} = \kappa_{oo} = \mathrm{angle} + \mathrm{norm} +
   \mathrm{left}

1. **Pairs.** `arm_optima.pair` keeps the cells c whose optimum lies inside its grid in every arm a.
2. **Regression.** `experiments.joint.regression.regress` fits all arms at once, so that what the arms of a cell share
   cancels in their differences.
3. **Parts.** The curvatures :math:`\kappa` of the arms combine to what the schedule of angles makes, what the norm
   makes and what is left, each with an interval and a verdict: `parts.attribute`.
4. **Rivals.** Could a column of the runs, a gradient noise scale say, do the bend instead? `rival_levels.read_levels`
   reads it at one learning rate for all cells, `rivals.judge_rival` compares its curvature with that of the optimum.
"""
