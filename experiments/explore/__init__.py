"""The explorer page: what the theory says of one setting or two, as fast as a slider moves, beside what was measured.

Everything that is drawn is computed here, from `theory` and `sim`; the page in ``page`` only draws. What a person sets
are the flags of ``lrbend predict``, as text, and the command line reads them (`asked.Reader`): the page and the command
refuse the same things in the same words and give the same numbers.

asked       what the command line makes of the fields
fields      which fields there are, and where their sliders end
answers     trajectory, transient map and simulation of a setting
optimum     the best learning rate along model size or data, and why it bends
measured    runs, logs and tables to lay over a prediction
server      the HTTP side: loopback only, one line for what is refused
"""
