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

Added when nine runs from 0.53 had been seen (seeds 0 and 1: 2.01, 1.955, 1.994 at .0146, .0292, .0583; `two_angles`
1.963, 1.956, 2.001), before any of the following were made. The law is .047 too low below the optimum, and there
AdamH's own cells are on the same side: 2.026 +- .012 at .009 under the line where it has 2.000. Its best rate for
AdamH at 1,600 steps is .0130, for a measured .0169 [.0130, .0212]; at 3,200 it is .0157 for .0158. Is it the law, or
are it seeds 0 to 2, which all of these runs share? *Control*: AdamH under the line at 1,600 steps, rates .009 and
.018, seeds 3 to 6. By the law the loss at .009 less that at .018 is .002, by seeds 0 to 2 .030. Pooled with those,
the law is refuted there if it lies more than two standard errors off (of paired differences; expected .011 with seven
seeds), else the miss is put down to the seeds.

Added when 15 runs from 0.53, three from 0.177 and seven of the control had been seen (its new seeds .004 +- .018 at
95 %, all .017), before any of the following: *second control*, in place of the rest of 0.177, AdamW from 0.53 at
.0146 and .0292, seeds 3 to 5. By seeds 0 to 2 these two losses differ by .043 +- .016, by the law by .006; judged in
the same way.

Added when all of these and a fourth run from 0.177 had been seen (all seeds: .015 [-.002, .032] for AdamH, .030 [.003,
.057] for AdamW), before any of the following: seeds 7 to 9 of the first control and 6 to 9 of the second, so that both
have ten, 0 to 9. They decide by the rule that is already there, all seeds pooled. It is the second look at these
differences, and its two standard errors are not corrected for that. Expected are .009 with ten seeds, for the .030 that
seeds 0 to 2 have. The rest of 0.177 is made beside them; its rule is the first one.
"""

from __future__ import annotations

from experiments.studies.moved_optimum.runs import Arm

NUM_STEPS = 1600
ARMS = (Arm("start 0.53", 0.1, 0.53, (NUM_STEPS,)), Arm("start 0.177", 0.1, 0.177, (NUM_STEPS,)))
ADAMH = Arm("adamh", None, None, (NUM_STEPS,))
CONTROLS = (  # rates and new seeds
    (ADAMH, (0.009, 0.018), (3, 4, 5, 6, 7, 8, 9)),
    (ARMS[0], (0.0146, 0.0292), (3, 4, 5, 6, 7, 8, 9)),
)
