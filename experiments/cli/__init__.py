"""The command line, the top storey: one file per command, with its flags and what it does; nothing imports it.

`main` lists the commands, `parser` says what each has to hold and how numbers and errors are read, `flags` holds the
flags that commands of several rooms share, `interrupts` lets a Ctrl-C arrive. Rooms by what a command is given:

settings    an optimizer, a schedule and an initial RMS: what the theory and the simulation say of it
runs        runs that are made, continued, measured or drawn, and the studies they belong to
tables      a table with one run a row: what it says, and what it cannot say

A file that holds no command but what those of its room share ends in ``_flags``.
"""
