"""The colours of all pictures and pages, without what draws them.

Those of Okabe and Ito (2008), which the colour-blind tell apart, in an order in which neighbours differ in
lightness too.
"""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#000000")
GREY = "#6e6e6e"
