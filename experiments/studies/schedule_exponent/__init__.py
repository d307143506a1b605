r"""Does the schedule by itself change how the best learning rate goes with length, where no norm can move?

Question. With AdamH the norm stands still, so that no transient can bend anything. Others saw the exponent of the best
rate against the number of tokens change with the schedule alone: -0.35 where the rate decays along a line, -0.56 where
it is constant (MuonH; Marin, issue 7856). Does a law that knows only angles say so, and do runs?

Hypotheses, with numbers in ``predictions.csv``, written before the runs; neither has a constant fitted to a constant
rate:

- *law*: `theory.two_clocks` with the constants of `docs/angle-law`, where every schedule of the other parameters was a
  line; here they follow the constant rate too, which the law takes into its clock;
- *mean angle*: the best rate is the one with the mean angle of AdamH's measured optimum (0.0081 rad per step), under
  either schedule and at every length.

ln of the best constant rate over that of the line is -.33, -.79 and -.88 at 1,600, 3,200 and 6,400 steps by the law,
-.67 at all by the mean angle. So exponents over these lengths: by the law -.03 for the line, which rises before it
falls, and -.43 for the constant rate; the mean angle says 0 for both. Beyond, from 6,400 steps to 25,600, the law has
-.44 for either: it does not say that the schedule changes the exponent of long runs, and nowhere a curve that bends up.

Method. `experiments.studies.moved_optimum`'s model, text, batch, grids (five rates a factor of 2 apart around the
geometric mean of both predictions, widened where the lowest mean loss stands at an end) and seeds 0, 1, 2. AdamH with
all parameters at a constant rate after a warmup of a twentieth, 1,600, 3,200 and 6,400 steps, in this order, as far as
the time allows. The line at 1,600 and 3,200 steps is that of `docs/same-angle`; at 6,400 it is the AdamH arm of
moved-optimum, run here. Optima and intervals are those of `lrbend fit`, a schedule at a time.

Decision rule, written before the runs.

1. At every length with both optima: an account is refuted if its ln(constant/line) lies outside the 95 % interval.
2. Exponent: least squares of ln(optimum) on ln(steps) over the lengths that both schedules have, weighted by the errors
   of the optima. The schedule changes the exponent if the 95 % interval of the difference, constant less line, excludes
   0; an account is refuted if its own difference over the same lengths lies outside that interval.

3. Each exponent by itself: an account is refuted if its own lies outside the 95 % interval.

Power. `lrbend fit` on losses that the law makes, with a noise of .002: the ratio at one length is known to +- .37 to
.52 at 95 %, the exponent at a constant rate to +- .08, that of the line to +- .44 (its losses are flat below the
optimum, on a grid that was laid for another question), the difference to +- .45. So what can be decided is the ratio
against 0, and the constant rate's exponent: -.43 by the law against 0 by the mean angle. That the *difference* of
exponents is not 0 is unlikely to be shown, even with three lengths.

What has been seen: the losses of the line at 1,600 and 3,200 steps; no run at a constant rate.
"""
