r"""Is AdamW's best learning rate from a small start where the pilot had it, or where the laws of AdamH's runs have it?

Question. An independent pilot (`experiments.studies.angle_law.answers.PILOT`) has optima at 1,600 steps of 0.040 from a
RMS of 0.53 and of 0.015 from 0.177. Both laws that AdamH's runs gave have 0.021 to 0.022 and 0.009. From 1.6, which
`docs/moved-optimum` trained again, the pilot lies 1.21 times above what was measured there; its schedule, grid and
intervals are not known. Is it the law that fails from small starts, or is it the pilot?

Hypothesis. The laws are nearer, and the pilot's optimum from 0.53 does not come again: that start is hardly above the
equilibrium of these rates (0.33 at 0.022), from which 0.023 [0.017, 0.033] was measured.

Method. Model, text, batch, schedule and seeds of moved-optimum, AdamW at a decay of 0.1 and 1,600 steps, every block
matrix started at 0.53 or at 0.177, grids as there around the geometric mean of the pilot's optimum and that of
`theory.two_angles`. First 0.53, then 0.177 as far as the time allows. ``predictions.csv`` was committed with this text.

Decision rule, written before the runs. At a start an account is refuted if its optimum lies outside the 95 % interval
of the measured one by `lrbend fit`. The nearer account is the one whose ln is nearer to the measured one.

Power. An optimum has an error of .1 to .17 in ln in moved-optimum; the accounts differ by .6 and .5.
"""

from __future__ import annotations

from experiments.studies.moved_optimum.runs import Arm

ARMS = (Arm("start 0.53", 0.1, 0.53, (1600,)), Arm("start 0.177", 0.1, 0.177, (1600,)))
