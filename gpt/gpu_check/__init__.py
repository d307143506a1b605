"""Whether the path through a GPU is right, and how fast it is: one command, minutes, no network.

    lrbend study gpu-check                  in the house, beside the other studies
    python -m gpt.gpu_check --out FOLDER    on a machine that has numpy, scipy, sympy and torch, and nothing else

The second door is an exception to the rule that modules have no command lines of their own: a machine that is rented
by the minute should not have to install what only tables and figures need.

    paths       training of a small model by every arithmetic, against float64 on the CPU
    adamh       AdamH on the device against its definition written out in float64
    ensemble    many small runs at once against each alone on the CPU, and against one for speed
    speed       tokens per second and MFU at 22M and 64M, AdamW and AdamH, the cost of the probe, memory
    transient   a run from a large norm against the closed form

All of it runs on a CPU at a tenth of its size, by the same code. What one H200 said is in ``docs/gpu-check``.
"""
