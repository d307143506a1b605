"""From runs to the losses that count: what is left out of a table, why, and whether its cells share a shape.

`screening.odd_runs` finds single runs that cannot belong to their cell, `cells.make_cells` makes the cells of the rest.
`shapes.fit_shapes` then takes all of their rates but those past a wall (`walls.without_walls`) and one shape, or the
rates about the best ones (`windows.near_the_best`) and a shape for each cell. Nothing is left out without its reason.
"""
