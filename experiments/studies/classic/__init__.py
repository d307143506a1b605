r"""In classic GPT-2, does a larger initial norm move AdamW's best rate through the angle, or by itself?

Question. In a scale-invariant network the norm acts through the angle alone (`docs/replay`), so a moved optimum is the
transient's doing (`docs/moved-optimum`). Classic GPT-2 has no norm behind its matrices: a larger start is another
function, then another sequence of functions. How much of the shift of the optimum, and of the losses, goes through the
angle there, how much through the norm itself? And does AdamH, which holds the norm, isolate the angle?

What isolates what. Two starts, all block matrices at a RMS of 0.02 (small: about that of GPT-2, branches that say
almost nothing) and of 0.18 (large, nine times that: about 1/sqrt(width), branches of unit gain). At each rate and seed
both are recorded, every angle and norm of every matrix, and trained again crossed: large angles under the small norms,
small angles under the large ones (`gpt.replay`, gradients as they come). Two runs under the same norms have the same
initial function and the same size of every matrix at every step, so what differs between them is the angle's alone. Two
runs with the same angles differ in the norm: initial function and all later sizes together. A fifth arm tells these two
apart: large angles, large norms up to the end of the warmup, then the small ones.

Arms, per length (`runs`): small, large; the two crossed; *large then small norm*; the angles of either start with the
norm held at that start; AdamH held at 0.02, 0.18, 0.54; AdamW from the equilibrium of its own peak rate by
`theory.radial` (that of the MLP); AdamC from 0.18. Decay 0.1. Model of width 32, 2 layers, text, batch, schedule
(linear after a warmup of a twentieth) and Adam at 0.01 on all else are those of `experiments.studies.moved_optimum` but
for ``gpt2``. Five rates a factor of 2 apart, around 0.005 (the drawn start's three rates in `docs/replay` have their
bottom near 0.004), AdamH around 0.016 (0.0081 rad per step, the optimum of the scale-invariant network), the
equilibrium start around 0.01; a rate is added where the lowest mean loss of a cell stands at an end, at most twice.
Seeds 0, 1, 2, paired. 800 steps, then 1,600, as far as the time allows: all of a seed before the next, then the
equilibrium start, AdamC and AdamH at 0.54. What was not run has no row.

Seen before: losses of the drawn start in `docs/replay` and what holding its norm costs there (.16 to .30 nats),
`docs/radial`, `docs/transient-length`. Tried for time: runs of 20 to 200 steps with seed 99. No other run.

Predictions (``predictions.csv``) of two accounts that know angles alone, the mean over the radial theory's three kinds
of matrices:

- *law*: `theory.two_clocks` with the constants of AdamH in the scale-invariant network;
- *mean angle*: the best rate turns by 0.0081 rad per step on average, as AdamH's there.

ln of the best rate from the large start over that from the small one is 2.26 and 1.90 at 800 steps, 2.33 and 1.53 at
1,600, all of it the angle's: norm and interaction 0. AdamC moves the large start's optimum by -.03 and +.06 (800), -.06
and +.12 (1,600). AdamH's best rate and least loss do not depend on the norm that it holds. From a start (below): norm
0. That the small start's optimum is seen near .004, where they say .001 and .004, speaks against the law's numbers;
that holding the norm costs .3 nats says that the norm acts. So the accounts are there to be refuted: open is which part
is the larger one, and whether the *shift* is the angle's even where the losses are not.

Decision rule, written before the runs, at each length.

1. The optimum moves if the 95 % interval of ln(large/small) excludes 0. An account is refuted if it lies outside.
2. Its parts are those of `experiments.attribution.parts`, main effects and interaction of the 2 x 2. A part acts if its
   interval excludes 0, and is as good as none if that lies within 0.35, half a step of the grid. More of the shift goes
   through the angle if angle less norm is above 0 beyond its interval, through the norm if below.
3. The same of the losses at every rate, paired by seed, Student's t. Of the norm's effect at large angles, the part
   until the end of the warmup is that of the initial function, the other that of later sizes.
4. *One angle*: the measured mean angles at the optima of large, small and AdamH at 0.18 are the same if ln of their
   ratio has an interval that holds 0.
5. *AdamH is free of the norm* (isolates the angle) if, at 0.02 and 0.54 against 0.18, ln of the ratio of best rates has
   an interval within 0.35 and the least losses one within 0.02 nats; not so if one of the rates' intervals excludes 0
   or one of the losses' lies beyond 0.02; else open.
6. *From a start*, told and not judged: the four arms of `lrbend attribute` for each of the two starts, AdamH in the
   rate of the AdamW that turns alike from its equilibrium by theory. `lrbend attribute` itself splits a *curvature*
   over at least five cells of two axes or three of one; this study has two lengths.

Optima and intervals are those of `lrbend fit`, arm by arm; arms count as independent, which is careful.

Power. On parabolas of curvature 0.12 nats per ln^2 (what the three known rates have) with seeds that differ by .01 and
.02, `lrbend fit` gives an optimum to .10 to .15 and .14 to .20: the shift to +- .3 to .5 at 95 %, a part to +- .2 to
.4. A part of 0.9 is found every time, one of 0.3 half of the time. Flatter curves (0.05) double the errors. A loss is
split to +- .02 to .05 nats. AdamH's being free of the norm can be refuted; to confirm it, seeds must differ by less
than .01.

Taken up again later, when 207 runs of 800 steps and 85 of 1,600 stood, and before any run of the rest: what the rule
still asks for, by the rules and predictions above, on cores. First 800 steps, whose paired grid lacks its second added
rate, .000313, and with it the parts of the shift; then 1,600, where seeds and the late arms are missing, as far as the
time allows. Seen before: all answers on the page of that day. Expected: with small angles and large norms the losses of
800 steps, 2.360 at .000625 and 2.441 at .00125, rise again below, so that an optimum near .0005 comes into the grid;
then the norm's part of ln(large/small) is negative, beyond its interval, the angle's positive, smaller, and the
interaction not shown. At 1,600 steps the large start's angles under the small norms have their lowest loss at the
highest rate of the grid, and a rate beyond is asked for at both ends. Verdicts of before stay on the page where they
change.
"""
