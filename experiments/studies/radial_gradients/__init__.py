r"""Which law do the radial gradients of classic GPT-2 follow, and does it carry from small models to Pythia-70M?

Question. Matrices that are not scale-invariant grow by :math:`\eta^2G` a step where noise alone gives 1. What is G, of
what does it depend, and can two constants from two-layer models on a CPU predict somebody else's GPU runs?

Hypothesis. G is the product of three things: the direction ratio squared, a force factor :math:`f/(1+z/z_v)` of the
relative step z (`theory.radial`), and the memory of Adam's second moment, which starts with a burst of gradients.

Method. Eleven runs of two-layer GPT-2s: rates 3e-4 to 3e-2, from below and from above, constant and cosine, beta2 0.95
and 0.999. f and :math:`z_v` are fitted to the weight RMS of those at beta2 = 0.95, by root mean squares of ln(predicted
/ measured) in which records, kinds of matrices and runs count alike; also by kind, and with each run left out. The
burst is fitted to Pythia runs of one setting and predicts the others. f and :math:`z_v` are those of the MLP, which
has eight of nine entries of the public runs' pool; for comparison they are fitted to Pythia as well.

Exploratory: the form was chosen with the small runs and Pythia's in view.

Decision rule. The law carries if the weight RMS of every Pythia run that starts from drawn weights, and that the burst
was not fitted to, is within 10 % from step 5,000 on and within 20 % before.
"""
