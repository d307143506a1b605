"""Many small models trained at once on one device: what a GPU is good at when each of them is tiny.

A step of a GPT of width 32 is a few hundred kernels that a GPU finishes before the next one is launched. Runs that
differ in rate, decay, start, seed or optimizer have the same shapes at every step, so their weights are stacked along a
new first axis, M, and one kernel does the work of all. Each model sees the batches and makes the steps that
`gpt.train.train` would give it, up to rounding; what it leaves is the same `gpt.train.TrainResult`.

    weights     all parameters of all models in one tensor, block matrices first
    forward     the two architectures of `gpt.model` with an axis more
    moves       Adam, AdamW, AdamC, AdamH and steered steps on that tensor, and what the probe records
    tape        on a GPU, a step recorded once and replayed without Python
    train       from configs to results
"""

from gpt.ensemble.train import same_shape, train_ensemble

__all__ = ["same_shape", "train_ensemble"]
