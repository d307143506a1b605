r"""Does anything but the angle sit at a fixed value at the optima that the initial norm moved?

Question. In `experiments.studies.moved_optimum` AdamW's best learning rate depends on the initial norm. Is it pinned by
the gradient noise scale, by sharpness (plain, in units of the norms, or as Adam sees it), by Adam's statistics, or by
the norm of the output layer (arXiv 2510.03871), rather than by how far the weights turn?

Seen before: all losses, optima, mean angles and final norms of these cells. Not seen: any of the quantities; the
columns for them in `docs/same-angle/runs.csv` are empty. They were tried out on two runs of 200 steps with another
seed.

What can come out. The network is exactly scale-invariant, so the initial norm reaches the function through the angles
alone. Noise scale, normalised sharpness, sign agreement, output norm and logits are functions of the path of
directions. A rival that is to explain the moved optimum *in place of* the angle must therefore be moved by the angle
itself: finding it at a fixed value means that it *moves with the optimum*, as the angle does, not that it comes first.
What can be refuted is that the optimum sits at a fixed value of it.

Predictions (`predictions.csv`), of ln r(14.4)/r(1.6) and of the shift ln eta*(14.4)/eta*(1.6) that a fixed value gives:

- *of the learning rate alone*: no quantity whose value neither norm nor angle sets differs between arms at a common
  rate, and a fixed value of it gives a shift of 0. So for noise scale, output norm, logits, update RMS and sign
  agreement if they know nothing of the block matrices; for update RMS and its product with the rate this is expected.
- *the norm alone*: plain sharpness goes like 1/RMS^2, sharpness as Adam sees it like 1/RMS (its gradients are 1/RMS).
  By the theory's norms at 1,600 steps a fixed value of either gives a shift of 0.85 half way and 0.70 at the end; times
  the rate 0.54 and 0.40. Measured is 0.53 [0.27, 0.79]: between these two arms most cannot be told from it. The start
  at equilibrium, whose norm *rises* with the rate, can: there a fixed value of a norm has its slope reversed, so
  sharpness and weight RMS are expected to be refuted.
- *the angle alone*: 0.55 at 1,600 steps (0.42 at 3,200), as registered for the mean angle; so for any quantity that the
  angles alone set, if what sets it is the mean angle. Normalised sharpness, noise scale and logits are expected so,
  with slopes that nobody knows.

Method. Arms start 1.6, start 14.4, equilibrium and AdamH of that study, 1,600 steps; 3,200 as far as the time allows.
Three rates of its grid: the nearest to the measured optimum and a factor of 2 either side. Seeds 0, 1, 2, all cells of
one seed before the next; what was not run is said, and one seed alone gives no verdict. The same configs as there, so
the same losses. Measured after half of the steps and after the last, when the rate is 0 (`runs.measurements`): on 64
batches of 16 sequences for the noise scale, 2 for the sharpness, the same for all runs. The products with the peak rate
that theories name are asked half way: rate x sharpness, rate x sharpness as Adam sees it, rate x update RMS, rate x
root of the noise scale. AdamH's rate is another unit: it has no products.

Decision rule, written before the runs, for each quantity, moment and length. ln r at the measured optimum of each AdamW
arm, with the error that the optimum's error makes of it by its slope in ln rate and the noise between seeds:

1. *refuted* (the optimum does not sit at a fixed value) if chi^2 of a common value over the three AdamW arms has p
   below 0.01, since some twenty quantities are asked;
2. else *chooses no rate* if its slope in ln rate is within two standard errors of 0 in one of the arms started at 14.4
   and 1.6;
3. else *moves with the optimum* if p is 0.05 or more and the rate at which the start of 14.4 has the value of the start
   of 1.6 at its optimum is above that optimum by more than 1.96 standard errors;
4. else *open*.

Amended when the runs had begun and none of them had been looked at, since made tables of flat quantities with noise
were refuted or found too often: p from F and limits from Student's t where the noise between seeds has few degrees of
freedom (`answers`), in place of chi^2, two and 1.96. And since the machine is five times slower than planned, runs
come in the order in which an answer is soonest known (`runs.make_runs`): the two rates beside the optimum, then the
third, AdamH after AdamW, seed 2 last. Slopes are those of the rates that all seeds of an arm have.

The mean angle is asked the same and ought to move with the optimum; if it does not, the rule has no power. The same
with AdamH's arm is told beside it and decides nothing. A run without a value above 0 leaves its seed out.

Power. A quantity that would put all three optima at one rate is refuted with a chance of 0.999 if it has no noise,
0.97, 0.86, 0.67 and 0.34 if its noise over its slope is 0.1, 0.15, 0.2 and 0.3 in ln rate; ``power`` in ``answers.csv``
is that of each quantity as measured. A flat or noisy quantity can so be constant without meaning anything: rules 2 and
3.
"""
