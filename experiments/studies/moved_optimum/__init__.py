r"""Does the transient of the weight norm move AdamW's optimal learning rate in real training?

Question. In an exactly scale-invariant GPT the initial norm of the block matrices changes neither the initial function
nor anything that a step can see but the angle by which it turns. If AdamW's best learning rate depends on the initial
norm, and less so in longer runs, the transient did it: nothing else differs.

Hypotheses, with numbers in ``predictions.csv``, written before the runs by two accounts without a constant fitted to
AdamW:

- *law*: `theory.two_clocks` with the constants that AdamH's runs gave (`docs/angle-law`), the angles by theory;
- *mean angle*: the best learning rate is the one whose mean angle by theory is `MEAN_ANGLE`, that of AdamH at its
  measured optimum (`docs/same-angle`: 0.0083 at 1,600 steps, 0.0078 at 3,200).

They give ln eta*(14.4)/eta*(1.6), the shift between starts at a RMS of 14.4 and of 1.6, as .67 and .56 at 1,600 steps,
.45 and .43 at 3,200, .36 and .31 at 6,400.

Method. `experiments.studies.same_angle`'s model (2 layers, width 32), text, batch, schedule (linear after a warmup of a
twentieth) and Adam at 0.01 on all else. Arms, all AdamW: every block matrix started at a RMS of 1.6, of 14.4, or at the
equilibrium of the run's own peak rate, decay 0.1; and *weak decay*: 0.02 from a RMS of 0.53, where about one relaxation
is made at the optimum of 1,600 steps and three at that of 3,200. AdamH at 1,600 and 3,200 steps is that of
`docs/same-angle`, same seeds, and is run here at 6,400 and 12,800. Five learning rates, a factor of 2 apart, around the
geometric mean of both predictions; seeds 0, 1, 2, the same in every cell, so that initial weights and batches are
paired. Where the lowest mean loss of a cell stands at an end of its grid, a rate beyond it is added, at most twice.
Lengths 1,600, 3,200, 6,400, 12,800, in this order, all arms of one before the next; as far as the time allows, and what
was not run is said. Optima and intervals are those of `lrbend fit`, arm by arm; arms and lengths count as independent,
which is careful, since their seeds are paired. Runs that diverge stay in the table and count as `lrbend fit` counts
them; no cell is left out unless its optimum has no interval, and then it is shown as such.

*Symmetry*: the change (eta, lam, RMS_0) -> (c eta, lam/c, c RMS_0) alters no angle. Float64, eps 1e-20, 400 steps at a
rate of 0.1 from a RMS of 1.6, seeds 0, 1, 2, c = 0.1 and 3, beside a twin whose initial weights are multiplied by
1 + 1e-6.

Decision rule, written before the runs.

1. The transient moves the optimum at a length if the 95 % interval of the shift excludes 0; an account is refuted there
   if it lies outside that interval.
2. The effect fades if the shift at the shortest length less that at the longest that was run is above 0 by more than
   1.64 standard errors; otherwise fading is not shown. The same of each length less the next is told beside it.
3. One curve: over all cells with an interval, ln of the measured against ln of the predicted optimum, least squares
   weighted by the optima's errors, for each account: it holds if the slope lies within 0.9 to 1.1 and the root mean
   square of ln(measured/predicted) is below 0.15; refuted if the slope's 95 % interval excludes that range or the root
   mean square is above 0.15 by more than the optima's errors explain (chi^2 at 5 %); else open.
   (Added with two lengths in view: the same without AdamH, whose optima at 1,600 and 3,200 steps both accounts know.)
4. The symmetry holds if the root mean square over seeds of the loss's change is at most twice the twin's, for both c.

Power. `predictions.expected_error` has the standard error of each optimum for the law's losses and the noise between
seeds of `docs/same-angle`, for a parabola; ``predictions.csv`` lists it. `lrbend fit`, which does not know the shape
of the curves, gives 0.05 to 0.13 (weak decay 0.2) on losses that the law makes: enough for the shift at either length,
not for its fading between 1,600 and 3,200 steps, which is predicted as 0.13 to 0.22.

Added after looking, when 1,600 steps had been made again by a GPU, whose rows count, and 6,400 steps with them (shift
.57 without an interval, .54 [.13, .95], .61 [.20, 1.02]), before any of the following: seeds 3, 4, 5 at 1,600 steps
from 1.6 and from 14.4, thirty runs on cores, at the rates that seeds 0 to 2 have. Because: six seeds at the ends had
been planned; and the optimum from 14.4 lost its lower end, when of its 15 runs one at the highest rate differed by .07
nats between the machines. Expected: both optima with both ends, an error of .06 to .09 each (that of three seeds over
the root of 2), so +- .17 to .25 for the shift at 95 %, inside which both accounts lie (.66 and .55). All six seeds are
pooled and judged by the first rule, as above. It is the second look at that shift, not corrected for; whatever comes
out, the shift of seeds 0 to 2 stays on the page, by the rows of either machine. 12,800 steps, the other end, stay
unmade.

12,800 steps were taken up later, on cores, when the other three lengths stood (shift .48 without an interval, .54, .62)
and before any run of them: from 1.6 and from 14.4 first, seeds 0 to 2, then the other arms, as far as the time allows.
Nothing is changed: rates, rules and predictions are those above, the law's shift .33 and the mean angle's .20. Told in
advance: by the power of the other lengths the shift gets an error of about .2, so that it may well exclude 0, and
cannot tell the accounts apart; the fading from 3,200 steps, .12 and .22, will not be shown unless it is much larger
than either account has it. `lrbend fit` lets the lengths of an arm share the shape of their curves, so that a fourth
length may move the answers of the other three: those given before stay on the page.

Widths 16 and 64 were taken up last, on cores, when all of this stood, before any run of them: two starts, 1.6 and 14.4,
decay 0.1, 3,200 steps, seeds 0 to 2, grids around the centres that width 32 has there, widened by the same rule
(``widths.py``; the accounts know no width, so ``predictions.csv`` is theirs too). Width 16 comes first, made many at
once, then 64, a seed of both starts after another, and what has not ended an hour and twenty minutes from now is not
run: the machine is shared and slow, so that width 64 may lose seeds, the last one first, or all. A seed counts once it
has all planned rates from both starts; an added rate, once all seeds that count have it. What is not run is said, and
may be made later by these rules; what fewer seeds said stays on the page then. These runs have tables of their own
(``width-runs.csv``, ``width-optima.csv``, ``width-answers.csv``) and enter no fit, curve or answer from above. Optima
are those of `lrbend fit`, arm by arm, where both widths of an arm share a shape, as lengths do; each width by itself is
told beside it.

Rules. The first one at each width: moved if the interval of the shift excludes 0, an account refuted if it is outside
(law .45, mean angle .42). Each shift less that of width 32, .54 [.15, .93], differs if 0 is outside 95 %. The shift
grows with the width if that at 64 less that at 16 is above 0 by more than 1.64 standard errors. That is asked because
it was seen in other runs: in `docs/bend` the shift from 0.16 to 1.6 is .76 and .67 at width 16, 1.47 and 1.18 at 64,
after 2,000 and 4,000 steps, looked at before. No account has it; both say 0.

Power. `predictions.expected_error` gives .019 and .012 for the optima from 1.6 and 14.4, .022 for a shift. That is too
good: it gave the same at width 32, where the shift's error came out as .20. By `lrbend fit`, on 15 made sets of the
law's losses with the noise between seeds of `docs/bend` from 1.6 (.0145 nats at width 16, .0075 at 64), it is .18 and
.16, so +- .36 and +- .32, and the law's .45 is found in 67 and 100 %; each width by itself has .31 and .17, and 30 and
80 %. The shift has to grow by .40 to be shown; by the factor that bend has at 4,000 steps, 1.8, it would be about .25,
which is found in a quarter. The two accounts cannot be told apart. With one seed of width 64 its error is larger by the
root of 3.
"""
