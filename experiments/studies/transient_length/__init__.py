r"""How long is the norm's transient in real training, over learning rates and decays, and is it as long as predicted?

Question. The map of the transient's length over (learning rate, weight decay), measured beside predicted, on exactly
scale-invariant and on classic small GPTs.

Hypotheses. Nothing is fitted for the first of two predictions: `theory.networks`, the ``scale-invariant`` network and
the laws of `theory.radial.KINDS`, with the constants they had before (direction ratio 0.885). Earlier held-out settings
missed because that ratio is no constant. The second prediction measures it where a user could: on the *design half*,
one median for each architecture and pair of betas, and predicts the *held-out half* with it.

Method. Width 32, two layers, batch 16, 800 steps after a warmup of 20 (`experiments.studies.held_out.runs`), one seed.
`SETTINGS`: four learning rates by four decays (0.1 to 0.8) by betas (0.9, 0.95) and (0.9, 0.99), constant rate, in both
architectures; every second combination starts below (0.35 of the predicted equilibrium), the others above (2.5). Eight
more of each architecture under WSD. Halves are a checkerboard over rates, decays and betas. Readings and their rules
are those of `experiments.studies.held_out`: late angle and RMS, relaxation at the peak rate with the measured direction
as drive, *first passage* until the RMS is within 10 % of the matrix's own equilibrium (the RMS over the last quarter of
the steps at the peak rate), medians over the judged matrices of a setting. Queries and keys of classic GPT-2 are
reported and not judged. A setting whose first passage does not happen within the run has none.

Decision rule, written before the runs; errors are measured / predicted - 1 of settings' medians.

- scale-invariant, held-out half, second prediction: median absolute error of the angle at most 5 %, of the relaxation
  at most 15 %; Spearman's correlation of first passages over settings at least 0.95.
- classic, held-out half, second prediction: angle at most 10 %, first passage at most 25 %; correlation at least 0.85.
- The first prediction is told beside it by the same numbers, without a verdict, and so is white noise.
- A run that diverges counts as an error of 1 in each quantity.

Power. With sixteen settings or more a correlation of 0.98 falls below 0.95 in 4 % of tries (Fisher's z).
"""
