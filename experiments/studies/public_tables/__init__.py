"""What `lrbend fit` says of public tables of learning rates: optima, exponents, curvatures of other people's runs.

Question. Does the optimal learning rate bend in sweeps that nobody here made, in which direction, and does it bend
less where the norm is fixed?

Hypothesis. None was registered: the tables were read before this study was written, some of them for the tests. What it
adds is that every table is read by one command, and that what a table cannot tell is said.

Method. Every public table with several learning rates at several scales, in every series that holds everything else
(`tables.TABLES`: file, rows, groups, scale); one fit each with the defaults of `lrbend fit`, other estimators beside
it. The command that does the same is a column of the answers. Two folders have no optimum to read: `multipowerlaw` (27
curves, one peak rate of 3e-4; GitHub thu-yao-01-luo/MultiPowerLaw) and `npm_weibull` (norms, no final losses; GitHub
tiexinding/NPM-Weibull-public).

Decision rule. The verdicts of `lrbend fit`, which are told with the smallest bend that the table could have shown. The
difference of two groups is that of independent estimates. The tables are not copied: the study needs their folder.
"""
