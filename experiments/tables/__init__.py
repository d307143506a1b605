"""Tables of runs that somebody else made: from a file to clean runs, and what there is to say of them.

1. **File to cells of text.** CSV, JSON lines or a list of objects: `formats.read_raw`.
2. **Columns to names.** Ours, those that are mapped, or the usual other ones (`aliases`) where only one can be meant:
   `columns.find_columns`.
3. **Rows that are asked for**: `filters.select_rows`.
4. **Text to numbers**, as people write them: `numbers.parse`. Values of a scale that rounding alone tells apart are
   one: `keys.merge_close`.
5. **Runs that did not finish** are left out, those that diverged count as diverged, marks of failure in the place of a
   loss count as none: `outcomes`, `plausibility.failed_marks`.
6. **The decay that makes a cell**: weight decay, or learning rate times it where the sweeps hold that:
   `decay.settle_decay`.
7. **What looks wrong**: columns that were not read and vary inside a cell (`unread`), numbers that cannot be what they
   are called (`plausibility`).

`reading.read_table` and `reading.table_from_frame` do all of it; what comes out is a `run_table.RunTable`. Whatever is
left out is counted with an example, whatever is guessed is noted, and every warning says what to do.
"""
