"""One picture for each answer of a command: what ``--plot FILE`` writes, and the style that all of them share.

`style` holds colours, axes with units, labels beside lines, and the way to the bytes of a file. Every other file draws
the answer of one room: `trajectories` those of theory and simulation, `cells` and `laws` those of a table of runs,
`parts` an attribution, `ranking` final losses. A function takes what was computed and returns the figure; nothing is
computed here but what a curve needs between its points, and nothing of pyplot is used, so that no figure outlives its
call.
"""
