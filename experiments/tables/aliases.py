"""What our columns are called elsewhere, and how such names are compared and carry a unit."""

from __future__ import annotations

import re
from functools import lru_cache

from experiments.tables.written import POWERS, WORDS

STATE = "state"

# lower case, with _ for everything that is no letter or digit; one capital letter stands for itself
ALIASES: dict[str, tuple[str, ...]] = {
    "learning_rate": (
        *("lr", "learning_rate", "peak_lr", "max_lr", "peak_learning_rate", "max_learning_rate", "base_lr"),
        *("params_lr", "params_learning_rate", "lr_max", "lr_peak"),
    ),
    "loss": (
        "loss",
        *("val_loss", "eval_loss", "valid_loss", "validation_loss", "loss_val", "loss_eval", "loss_validation"),
        *("val_loss_nats", "loss_nats"),
        *("final_loss", "final_val_loss", "final_eval_loss", "last_val_loss", "final_validation_loss"),
    ),
    "num_params": (
        *("N", "params", "n_params", "nparams", "num_parameters", "n_parameters", "parameters", "param_count"),
        *("parameter_count", "model_size", "model_params", "non_embedding_params", "num_params"),
        *("total_params", "total_parameters", "non_emb_params", "num_non_embedding_params", "n_non_embedding_params"),
    ),
    "num_tokens": (
        *("D", "tokens", "n_tokens", "num_train_tokens", "train_tokens", "training_tokens", "total_tokens"),
        *("token_budget", "target_tokens", "tokens_target", "planned_tokens", "num_tokens"),
    ),
    "batch_size": ("batch", "bs", "global_batch_size", "global_batch", "batchsize", "train_batch_size", "batch_size"),
    "weight_decay": ("wd", "weight_decay", "weightdecay"),
    "independent_weight_decay": ("independent_wd", "indep_wd", "wd_indep", "independent_decay"),
    "num_steps": (
        *("steps", "n_steps", "num_train_steps", "train_steps", "training_steps", "max_steps", "total_steps"),
        *("iterations", "num_iterations", "n_iterations", "iters", "max_iters", "num_steps"),
    ),
    "optimizer": ("opt", "optim", "optimizer_name", "optimizer_type", "optimiser", "optimizer"),
    "seed": ("random_seed", "rng_seed", "seed"),
    STATE: ("state", "status", "outcome", "run_state"),
}
SO_FAR: dict[str, tuple[str, ...]] = {
    "num_steps": (
        *("_step", "global_step", "trainer_global_step", "train_global_step", "step", "iter", "iteration"),
        *("trainer_step", "train_step", "last_step", "final_step", "current_step", "end_step", "steps_done"),
        *("steps_completed", "completed_steps"),
    ),
    "num_tokens": (
        *("tokens_seen", "tokens_processed", "consumed_tokens", "total_tokens_seen", "train_tokens_seen"),
        *("num_tokens_seen", "n_tokens_seen", "num_input_tokens_seen", "train_num_input_tokens_seen"),
        *("tokens_trained", "total_tokens_processed", "tokens_done"),
    ),
}
IF_NOTHING_ELSE: dict[str, tuple[str, ...]] = {"num_params": ("size",)}
SEQUENCES = (
    *("sequence_length", "seq_len", "seq_length", "seqlen", "context_length", "block_size", "context", "max_seq_len"),
    *("ctx_len", "max_sequence_length", "max_position_embeddings"),
)
CALLS = "_step"  # counts what was logged; where steps of training are counted too, they count
PROGRESS = (
    *("epoch", "train_epoch", "trainer_epoch", "current_epoch", "epochs_done", "progress", "train_progress"),
    *("fraction_done", "percent_done", "percent_complete"),
)
FLAGS: dict[str, bool | None] = {  # what stands in a column where a run is through; None: an exit code, 0
    **dict.fromkeys(("finished", "completed", "complete", "done", "is_finished", "is_done", "success"), True),
    **dict.fromkeys(("crashed", "failed", "killed", "aborted", "preempted", "active", "is_active", "running"), False),
    **dict.fromkeys(("is_running", "unfinished", "pruned", "interrupted", "timed_out", "oom", "error"), False),
    **dict.fromkeys(("exit_code", "exitcode", "return_code", "returncode"), None),
}
# objects that say nothing of what is in them
WRAPPERS = (
    *("config", "summary", "metrics", "hparams", "args", "params", "parameters", "hyperparameters", "sys", "run"),
    *("hparam", "hp", "model", "data"),
)
WRAPPED = re.compile(rf"(?:(?:{'|'.join(WRAPPERS)})/)+", re.IGNORECASE)  # summary/val_loss
MOST_REMEMBERED = 100_000  # names, of which a table may have as many as it likes
WITH_UNIT = re.compile(rf"(.*?[^\W_])[\W_]+(?:in[\W_]+)?({WORDS})s?[\W_]*|(.*[a-z])([KMBGT])", re.IGNORECASE)
WITH_POWER = re.compile(  # tokens [10^9], N (x1e6), params/1e6
    r"(.*?[^\W_])[\s_]*(?:[\[(][\s*x\u00d7]*|/\s*)(?:1e|10\s*(?:\^|\*\*)\s*)[+-]?(\d{1,2})[\])\s]*", re.IGNORECASE
)


@lru_cache(maxsize=MOST_REMEMBERED)
def spelled(theirs: str) -> tuple[str, ...]:
    """A name as it is compared: whole, and the ends of one with dots, such as config.model.n_params."""
    theirs = theirs.lstrip("# ") or theirs
    bare = theirs[match.end() :] if (match := WRAPPED.match(theirs)) else theirs
    *objects, last = (bare or theirs).split(".")
    parts = [*(part for part in objects if part not in WRAPPERS), last]
    ends = [".".join(parts[place:]) for place in range(len(parts))]
    found = [end if len(end) == 1 else re.sub("[^a-z0-9_]+", "_", end.lower()).rstrip("_") for end in ends]
    return (found[0], *(end for end in found[1:] if end != "loss"))  # train.loss is another one


@lru_cache(maxsize=MOST_REMEMBERED)
def unit_of(theirs: str, *, small: bool = False) -> tuple[str, float]:
    """A name without its unit, and that unit: ("params", 1e6) of params_M, params (millions), paramsM and params
    [10^6]; 1 if none. ``small``: of what is below 1, ("lr", 1e-3) of lr [1e-3] and of lr (x1e3) alike."""
    if power := WITH_POWER.fullmatch(theirs.strip()):
        return power[1], float(f"1e{'-' if small else ''}{power[2]}")
    match = WITH_UNIT.fullmatch(theirs.strip())
    if small or match is None or (match[3] and not (match[3][-1].islower() and match[4].isupper())):
        return theirs, 1.0
    base, unit = (match[3], match[4]) if match[3] else (match[1], match[2])
    if len(base) == 1 and len(unit) == 1 and unit.islower():
        return theirs, 1.0  # N_t is an index
    return base, 10.0 ** POWERS[unit[0].lower()]


def is_so_far(theirs: str, name: str) -> bool:
    """Whether a column, by its name, tells what a run has done and not what it was to do."""
    return bool({*spelled(theirs), *spelled(unit_of(theirs)[0])} & set(SO_FAR[name]))
