r"""In classic GPT-2, does AdamW's best learning rate bend along parameters, and does the start change how it goes?

Question. `experiments.studies.bend` asks it where the network is exactly scale-invariant; `classic` knows one width.
The paper's networks are classic: does a start below equilibrium, as theirs is, change the exponent or the curvature of
the best rate along N there?

Method. Model (2 layers), text, batch (1,024 bytes), schedule (linear after a warmup of a twentieth), decay 0.1 and Adam
at 0.01 on all else are those of `classic`. Four arms: AdamW from a RMS of 0.02 in all block matrices (*small*, GPT-2's
at any width), from the equilibrium of its own peak rate by `theory.radial`, from 0.18 (*large*), and AdamH held at
0.18. Widths 8, 16, 32, 64, 128: 1,760 to 396,800 parameters outside the embeddings. 800 steps; then 1,600 at all widths
but the last, as far as the time allows. Six rates a factor of 2 apart, those of `classic` among them; where the lowest
mean loss of a cell stands at an end a rate beyond it is added, at most twice. Seeds 0, 1, 2, paired. At width 32 the
rows of `classic` count with all their rates, and what they lack of the plan is made. Width 32 first, then 16, 64, 8,
128, all arms of a width before the next; a cell counts when it has all its runs, what was not run has no row.

Seen before: everything of `classic`, that is all of width 32 but for the rates which are added there. Of other widths
runs of 40 and 140 steps with seed 99, for time, losses not looked at.

What is expected along N, of ln(best rate), before the runs:

===============================  ===================  ==================  ==================
account                          small                equilibrium         small over equil.
===============================  ===================  ==================  ==================
angles alone (law, mean angle)   as AdamH             as AdamH squared    no number for N: 0
one gain                         exponent -.25        exponent -.50       exponent +.25
the paper                        bends up             straight            bends up
===============================  ===================  ==================  ==================

*One gain*: matrices serve best at one RMS times square root of the width. From a small start the norm grows in
proportion to the rate, so that the rate goes as width to -1/2, N to -1/4; at equilibrium it goes as the root of the
rate, so that the rate goes as 1/width, N to -1/2. It has no number for the large start, whose norm is hardly moved, and
none for AdamH. The ratios at single widths are no part of these accounts: at width 32 angles alone are refuted
(`classic`, ln of small over equilibrium 2.2 for -2.3).

Decision rule, written before the runs, at each length by itself; 800 steps decide.

1. *Bend*, per arm: the verdict of `lrbend fit` on its cells of all widths, at its default delta of 0.07.
2. *Differences*: ln(one/other) at the widths where both optima lie inside their grids, exponent (three widths or more)
   and curvature (four) by `experiments.studies.slices`, least squares weighted with the optima's own errors, arms
   independent. The start changes an exponent or a curvature if the 95 % interval excludes 0. Primary: small over
   equilibrium, large over equilibrium, large over small, six numbers of which 0.3 exclude 0 by chance.
3. *The transient's bend*, the paper's account: held if the curvature of small over equilibrium is above 0 beyond its
   interval, refuted where that lies below 0.05; else open.
4. *One gain* is refuted where its exponent lies outside the interval of `slices` of an arm, or of small over
   equilibrium.
5. *In mean angle*, measured at the optimum: the bend goes if no arm's curvature along N excludes 0 there; arms turn
   alike if neither exponent nor curvature of an arm over AdamH does.
6. `lrbend attribute` splits nothing here: angles of one start under the norms of another exist at width 32 alone.

Optima that are flat or at an end are shown as that and are in the fit of rule 1 alone.

Power. ``expected.csv``: the study at 800 steps, 100 times, on losses like those of `classic` at width 32 (mean curves
of each arm, noise between seeds), moved along ln(rate) by an exponent of -.2 in every arm, and in a second case by +.1
and a curvature of .15 more from the small start. Intervals by rule 2 hold what was planted in 94 to 100 % of studies
(AdamH's own, whose best rate comes to the end of its grid, in 97); they are two to three times as wide as the scatter
asks for. Half widths, and how often the second case is found:

============================  ========  =========  =============  ==============
difference                    exponent  curvature  exponent .1    curvature .15
============================  ========  =========  =============  ==============
small over equilibrium        .11       .15        76 %           51 %
large over equilibrium        .09       .12
large over small              .09       .13        91 %           81 %
============================  ========  =========  =============  ==============

By rule 1 the small start's own curvature of .15 is named in 44 %; half widths are .07 (large) to .17 (AdamH). So a bend
of 0.05, as `theory.bend` has in an example at other sizes, is not seen by any of these; a difference of exponents of
the size that *one gain* says, .25, is.

After the runs of 800 steps had been looked at, ``sensitivity.csv`` was added: single widths left out, and optima read
in two other ways. It decides nothing.
"""
