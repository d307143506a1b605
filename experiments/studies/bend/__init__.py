r"""Does AdamW's best learning rate bend along parameters or along tokens in small models, and does the transient do it?

Question. The arms of `experiments.studies.gpu.bend`, at a size that two cores can train: AdamW from a usual start, from
ten times that, from the equilibrium of each rate, and AdamH. In an exactly scale-invariant GPT they differ in the
angles by which block matrices turn and in nothing else. Exponents and curvatures of ln(best rate) along both axes, arm
by arm; what the arms differ in is the transient's.

Hypotheses, with numbers in ``predictions.csv``, from two accounts without a constant fitted to AdamW or to these runs:

- *law*: `theory.two_clocks` with the constants that AdamH's runs at width 32 gave (`docs/angle-law`). It is known to
  fail at a constant rate (`docs/schedule-exponent`) and in the lengths that it was not fitted to
  (`docs/one-calibration`); 500 and 4,000 steps lie outside the 800 to 3,200 of its fit;
- *mean angle*: the best rate has AdamH's mean angle, 0.0081 rad per step.

Neither knows the number of parameters. Along N both say an exponent and a curvature of 0 in every arm. What AdamH does
along N is not predicted, and is no concern of the question; that arms differ in it would be the transient's. Along D:

==================================  ==================  =====================  ===============  ==================
ln of the best rate                 exponent, law       curvature, law         exponent, angle  curvature, angle
==================================  ==================  =====================  ===============  ==================
usual start                         .59                 -.27                   .09              -.05
large start                         -.20                -.53                   -.42             .02
equilibrium                         .89                 -1.76                  -.15             -.01
AdamH                               .58                 -.63                   0                0
large start over usual start        -.79                -.26                   -.51             .07
usual start over equilibrium        -.30                1.49                   .23              -.04
large start over equilibrium        -1.09               1.23                   -.28             .04
equilibrium over AdamH squared      -.27                -.50                   -.15             -.01
mean angle, usual start over AdamH  -.07                .26                    0                0
mean angle, large start over AdamH  -.24                -.11                   0                0
mean angle, equilibrium over AdamH  -.01                -.29                   0                0
==================================  ==================  =====================  ===============  ==================

Method. `experiments.studies.same_angle`'s model (2 layers), text, batch (1,024 bytes), schedule (linear after a warmup
of a twentieth) and Adam at 0.01 on all else. Widths 8, 16, 32, 64: 1,704 to 99,520 parameters outside the embeddings.
500, 1,000, 2,000, 4,000 steps. AdamW with decay 0.1 from RMS 0.16 (*usual*: as far below the equilibrium of its best
rate as 0.02 is in large runs, so that by the law it makes 0.2 relaxations in the shortest runs and 5 in the longest),
from 1.6 (*large*), from equilibrium, and AdamH. Four rates a factor of 2 apart, at equilibrium of 4, which is the same
in angle, around the geometric mean of both predictions, the same at every width. Where the lowest mean loss of a cell
stands at an end of its grid a rate beyond it is added, at most twice. Seeds 0 and 1 in every cell; then seed 2 at 500
and 1,000 steps, at the rates that the cell has by then. Seeds are paired across rates and arms.

Order: the corner of widths 8, 16, 32 and 500, 1,000, 2,000 steps, all arms of a place before the next, then the rest,
cheap ones first, then seed 2. No run begins once all have taken six core-hours (a step takes 12, 11, 16, 32 ms of a
core at the four widths, so the first two seeds take some five); what was not run is in ``optima.csv`` as such. Runs
that diverge stay in the table and count as `lrbend fit` counts them. Cells whose optimum is flat or at an end are shown
as that, and are in the joint fit of their arm but in no difference between arms.

Effective learning rates, as measured in the same runs (`theory.effective_lr`): *mean angle* per step, *relative update*
:math:`\|W'-W\|/\|W\|`, *rate over RMS*; means over recorded steps and matrices, over the seeds of a rate.

Decision rule, written before the runs.

1. Bend, per arm, axis and kind of rate: the verdict of `lrbend fit` at its default delta of 0.07. ``not-identifiable``
   denies no bend; the smallest that would have been named stands beside it.
2. Differences: over the cells whose optimum is inside its grid in both arms, least squares of ln(one/other) with both
   slopes, both curvatures and the cross term (at least 8 cells). The transient changes an exponent or a curvature if
   the 95 % interval excludes 0. AdamH's rate is squared where it stands against AdamW's rate.
3. The mechanism's share of a bend: ``angle, norm own`` of `lrbend attribute`, AdamW from its start less AdamW from
   equilibrium, with Fieller's interval; none where the bend is not told from 0.
4. The mechanism is the angle's alone if in mean angle no AdamW arm differs from AdamH, exponent and curvature, along
   either axis. One such interval that excludes 0 refutes it.
5. One mean angle is refuted where its number lies outside an interval of 1, 2 or 3. The law is judged by what the study
   finds on the law's own losses (``expected.csv``) and not by its own optima, since a parabola does not follow its flat
   valleys: it is refuted where the measured value differs from the mean over the made studies by more than 1.96 of the
   larger of their spread and its own error; once all cells have run.

There are 28 differences by rule 2; one or two of them exclude 0 by chance. The primary ones are the exponents and
curvatures of *large over usual start* and *usual start over equilibrium* along D and along N.

Power. ``expected.csv``: the whole study, 40 times, on losses that the law makes, with the noise between paired seeds of
`docs/same-angle` and `docs/moved-optimum` (0.011, 0.013, 0.016, 0.008 nats at the four lengths). Per arm the smallest
bend along N that would be named in 85 % is 0.11 to 0.14 in learning rate, 0.47 at equilibrium; along D 0.27 to 0.47,
and 0.91. Half widths of differences:

============================  ===========  ============  ===========  ============
difference                    exponent, N  curvature, N  exponent, D  curvature, D
============================  ===========  ============  ===========  ============
large over usual start        .09          .15           .22          .88
usual start over equilibrium  .13          .22           .33          1.2
large start over equilibrium  .08          .13           .18          .60
============================  ===========  ============  ===========  ============

If the law is right, the exponents along D of large over usual start and of large over equilibrium are found in 92 and
100 % of studies, their curvatures in 26 and 75 %; of usual start over equilibrium the curvature in 65 %, the exponent
in 13 %; ``angle, norm own`` along D in 75 % from the large start, in 36 % from the usual one. Where there is nothing,
along N, intervals of differences exclude 0 in 0 to 16 % of studies, most in 3 to 8 %. What is not found along N is
excluded beyond these widths; a bend of 0.05, as `theory.bend` has it in an example from 22M to 707M parameters, is
below what any arm or difference can show here.

What would make it visible, by theory alone: ``visible.csv``. Here the law has transients that bend the optimum along D
by 1.1 to 3.7 at every start and decay. At 22M to 708M parameters and 1 to 27 billion tokens in steps of 2^19 the
constants of `theory.angle_law.EXAMPLE`, fitted at a batch a tenth of that, leave 16 relaxations or more at the optimum,
and nothing to see. A bend (down) that is visible along N takes 0.1 billion tokens, or 0.3 to 10 billion parameters at 1
to 3 billion tokens, with decay 0.1 or less and a start at 0.02 or below: some 3 relaxations or fewer at the far end.
(Added after the registration, before a row was looked at: with the made-up constants of `theory.bend`, whose best rates
are lower, relaxations at 9 billion tokens fall from 4-6 to 0.2-1.5, and a bend *up* is visible with decay 0.02 and a
start of 0.02 or below, or 0.1 and 0.005; at 0.1 and 0.02 it is 0.04, which not even the smaller error shows. So where
it is visible, and in which sign, hangs on constants that nobody has measured at that size.)

What has been seen: all runs of the studies named here, at width 32 and 800 to 3,200 steps, from RMS 1.6, equilibrium
and AdamH; no run at another width, from RMS 0.16, or at these lengths.

**Amended before any further run.** All above is as it was registered.

Why. After 58 runs, all at widths 8 and 16 and 500 steps, three of seven finished cells were flat: four rates over a
factor of 8 differ by little more than the noise of two seeds. A GPU can train some 200 of these runs at once, in
ensembles, in the time of a few. The optima of those seven cells and their losses had been looked at; no run at another
width or length.

What changes.

- *Seeds* 0 to 3 in every cell up to width 64, in place of 0 and 1, and 2 in short runs. (Eight were planned at first;
  before a run was made the GPU turned out slower than expected, see *Budget*.)
- *Rates*: six a factor of 2 apart, at equilibrium seven, of which the four that were planned are some. Those that the
  rule adds are a factor of 2 beyond, at equilibrium 4, as before, twice at most, by all seeds that the cells of a width
  have in common.
- *Width* 128, of 395,520 parameters, after all others, with seeds 0 and 1; then, after all else, 2 and 3, which widen
  no grid.
- *Budget*: some five minutes of a GPU, of which this study gets what two others leave. Measured on another text, before
  a run of this study, a step of 256 models takes 6.1, 12.5, 24 ms at widths 8, 32, 64, and one of 64 models 13.6 ms at
  width 128. Up to width 64 there are 1,600 runs and those of wider grids, at width 128 200, which likely will not be
  reached. What is not run is in ``optima.csv`` as such. On a core the six hours stay, and are too few.
- *Hardware*: the same float32 arithmetic, in ensembles, on a GPU. All runs that cores made are made on it again, and
  compared by the rule of `experiments.studies.bend.hardware`. Where a run is there from both, the GPU's counts.
- *Rule 2*: cells count in proportion to their runs, ln(one/other) by 1 / (1/runs of one + 1/runs of the other), and
  what both accounts say of them too. With equal weights the cells of width 128, of a quarter of the seeds and at the
  end of its axis, made intervals of exponents along N exclude 0 in up to 22 % of made studies with nothing there.
- *Rule 5*: "once all cells have run" leaves out width 128, since neither account knows a width.
- *Power* is asked for with the noise that the 58 runs have at 500 steps, 0.0131 nats, in place of 0.0105, that of 800.
  It is 0.005 at the two lower rates of their cells and 0.014 at the two upper ones; made studies have one noise.

What stays: question, accounts, arms, other widths and lengths, the rules but for these, primary contrasts.

The first design is told beside the amended one: ``first-design-optima.csv`` and ``first-design-answers.csv`` are its
tables, by its own rules (equal weights), from its seeds and its rates in the same runs, a rate that it would have added
included where the amended grid has it. They decide nothing; where they and the amended answers exclude each other's
values, that is said.

Power, of 40 made studies of the amended design (``expected.csv`` now), with two seeds at width 128, and of the first
design. Per arm the smallest bend along N that would be named in 85 % is 0.13 to 0.15 in learning rate, at equilibrium
0.09 (0.11 to 0.14, and 0.47); along D 0.32 to 0.39, and 0.46 (0.27 to 0.47, and 0.91). Half widths of differences, and
those of the first design:

============================  ===========  ============  ===========  ============
difference                    exponent, N  curvature, N  exponent, D  curvature, D
============================  ===========  ============  ===========  ============
large over usual start        .040, .09    .048, .15     .092, .22    .29, .88
usual start over equilibrium  .051, .13    .062, .22     .13, .33     .41, 1.2
large start over equilibrium  .054, .08    .066, .13     .14, .18     .44, .60
============================  ===========  ============  ===========  ============

If the law is right, the exponents along D of large over usual start and of large over equilibrium are found in all
studies, the curvatures of usual start and of large start over equilibrium in 98 and 92 %; of large over usual start the
curvature in 5 %, of usual start over equilibrium the exponent in 35 %, which the law has as -.26 and -.04. Where there
is nothing, along N, intervals of differences exclude 0 in 0 to 15 % of studies, 5 % on average. By themselves three
arms gain nothing along N: their intervals are three to five times as wide as the scatter of made studies asks for,
likely since six rates show how lop-sided the law's valleys are. A bend of 0.05 along N is now about what a difference
between arms can show; without width 128, which carries that axis, about twice as much (made studies of eight seeds:
0.07 to 0.12).
"""
