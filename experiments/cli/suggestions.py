"""A flag that there is not, and the one that is meant: by its usual other names, or by its spelling."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

OTHER_NAMES = {  # beside those of `experiments.tables.aliases`, which are names of columns
    "final_fraction": ("min_lr_ratio", "final_lr_ratio", "min_ratio", "lr_min_ratio", "final_ratio"),
    "initial_rms": ("init_rms", "init_std", "init_scale", "sigma", "std", "initializer_range"),
    "warmup_steps": ("warmup", "warmup_iters", "num_warmup_steps", "warmup_iterations"),
    "warmup_fraction": ("warmup", "warmup_ratio", "warmup_frac"),
    "decay_fraction": ("cooldown", "cooldown_fraction", "decay_frac", "cooldown_frac", "decay_ratio"),
    "tokens_per_step": ("batch_tokens", "tokens_per_batch", "tokens_per_iter", "batch_size", "batch", "bs"),
    "num_replicas": ("replicas", "samples", "num_samples", "n"),
    "num_workers": ("workers", "jobs", "j", "num_jobs", "n_jobs"),
    "schedule": ("scheduler", "lr_scheduler", "lr_schedule", "sched", "lr_scheduler_type"),
    "beta1": ("b1", "momentum", "adam_beta1", "betas"),
    "beta2": ("b2", "adam_beta2"),
    "eps": ("epsilon", "adam_epsilon"),
    "dim": ("width", "size", "dimension", "d"),
    "device": ("gpu", "cuda"),
    "plot": ("figure", "fig", "picture", "save_plot", "png"),
    "out": ("output", "o", "output_dir", "out_dir", "dir"),
    "csv": ("table", "save", "output_csv"),
    "architecture": ("arch", "model"),
    "network": ("model", "net"),
}
ALIKE = 0.72  # share of letters in common, by difflib, from which on a spelling is a slip


def plain(text: str) -> str:
    """A name without case, dashes and underscores.

    >>> plain("--Learning_Rate")
    'learningrate'
    """
    return text.lower().replace("-", "").replace("_", "")


def suggested(name: str, flags: Sequence[str]) -> str | None:
    """The one of ``flags`` that is meant by ``name``, None where none is near.

    >>> suggested("--lr", ["--learning-rate", "--num-steps"])
    '--learning-rate'
    """
    from experiments.tables.aliases import ALIASES

    wanted, known = plain(name), {plain(flag): flag for flag in flags}
    if wanted in known:
        return known[wanted]
    for names in (ALIASES, OTHER_NAMES):
        for ours, theirs in names.items():
            if plain(ours) in known and wanted in map(plain, theirs):
                return known[plain(ours)]
    begun = [flag for key, flag in known.items() if len(wanted) > 2 and key.startswith(wanted)]
    if len(begun) == 1:
        return begun[0]
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=ALIKE)
    return known[near[0]] if near else None
