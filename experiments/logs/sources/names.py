"""What a column, a tag or a key of a log means, by its usual names; and which one counts where several could.

Names are compared in lower case, with _ for everything that is no letter or digit. A quantity of one matrix is told by
the quantity before or behind the matrix: ``weight_rms/layers.0.mlp``, ``param/blocks.0.att.weight.norm``,
``weights/layers.0.mlp/rms``. A norm that does not say whether it is of weights or of gradients,
``norm/h.0.mlp``, means nothing until somebody maps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.files import BadInput

# of each, the first name that a log has counts
NAMES: dict[str, tuple[str, ...]] = {
    "step": (
        *("trainer_global_step", "train_global_step", "global_step", "step", "steps", "iter", "iteration", "it", "s"),
        *("optimizer_step", "num_updates", "update", "_step"),
    ),
    "learning_rate": (
        *("learning_rate", "lr", "train_learning_rate", "train_lr", "optim_learning_rate_group0", "optim_lr"),
        *("learning_rate_group0", "lr_0", "current_lr", "optim_learning_rate"),
    ),
    "loss": (
        *("loss", "train_loss", "training_loss", "lm_loss", "trl", "train_crossentropyloss", "loss_train", "nll_loss"),
        *("train_loss_step", "reduced_train_loss", "train_ce_loss", "loss_train_total", "loss_train_train_total"),
    ),
    "validation_loss": (
        *(
            "val_loss",
            "validation_loss",
            "eval_loss",
            "valid_loss",
            "tel",
            "loss_val",
            "eval_val_loss",
            "val",
            "test_loss",
            "lm_loss_value",
        ),
    ),
    "gradient_norm": (
        *("gradient_norm", "grad_norm", "train_grad_norm", "gnorm", "total_grad_norm", "optim_total_grad_norm", "norm"),
        *("global_grad_norm", "grad_global_norm", "grad_norm_total", "train_gradient_norm", "grad_2_0_norm_total"),
        *("l2_norm_grad_global", "gradient_norm_total"),
    ),
    "weight_rms": ("weight_rms", "weights_rms", "param_rms", "params_rms", "rms_w", "w_rms"),
    "weight_norm": (
        *("weight_norm", "weights_norm", "param_norm", "params_norm", "parameter_norm", "w_norm", "norm_w"),
        *("params_norm_total", "global_param_norm", "total_param_norm"),
    ),
    "update_rms": ("update_rms", "direction_rms", "adam_direction_rms", "u_rms", "rms_u"),
    "mean_w_u": ("mean_w_u", "w_dot_u", "mean_wu", "w_u", "wu"),
    "matrix": ("matrix", "parameter", "param", "param_name", "parameter_name", "layer", "module", "tensor"),
    "num_entries": ("num_entries", "numel", "n_entries", "num_elements"),
    "epoch": ("epoch", "train_epoch"),
}
OF_MATRICES = ("weight_rms", "weight_norm", "update_rms", "mean_w_u")
OF_SCHEDULES = (
    r"decay|warm_?ups?|min|max|end|final|init(?:ial)?|start|steps?|iters?|epochs?|ratio|frac(?:tion)?|schedule[rs]?"
    r"|mult(?:iplier)?|scal(?:e|ing)|gamma|power|style|type|wsd"
)
LEARNING_RATES = re.compile(  # Lightning's lr-AdamW/pg1, one of several; not lr_decay_iters
    rf"(?:optim_)?(?:lr|learning_rate)(?!.*_(?:{OF_SCHEDULES})(?:_|$))_[a-z0-9_]+"
)
OWNER = r"(?:weights?|w|params?)"
FORMS = tuple(
    (quantity, re.compile(form, re.IGNORECASE))
    for quantity, size in (("weight_norm", "norm"), ("weight_rms", "rms"))
    for form in (
        rf"{OWNER}/{size}/(?P<matrix>.+)",
        rf"{OWNER}/(?P<matrix>.+)[./]{size}",
        rf"(?P<matrix>.+)/{OWNER}/{size}",
    )
)
EXPORTED = re.compile(r"(?P<run>.+) - (?P<name>.+)")  # a chart of W&B as CSV
BOUNDS = ("__min", "__max")  # beside each of its columns
ANY = "*"  # stands for the matrix in a name that is mapped
SIZES = re.compile(r"norms?|l2norm|fro|frobenius|rms")  # of what, is told by other words of a name
NO_WEIGHTS = re.compile(r"grads?|gradients?|gnorm|updates?|direction|exp|momentum|act|activations?|logits?|clip|u")
BEFORE, BEHIND = (
    re.compile(form, re.IGNORECASE) for form in (r"(.*?(?:norms?|rms)[/.]).+", r".+?([/._-](?:norms?|rms))")
)


class Meaning(NamedTuple):
    """A quantity under our name, of which matrix ("" for all), and the rank of the name that told it: 0 is best."""

    quantity: str
    matrix: str
    rank: int


def meaning(theirs: str, columns: Mapping[str, str]) -> Meaning | None:
    """What a name stands for, if for anything; ``columns`` maps ours to theirs and comes first.

    A * in theirs stands for the name of a matrix, in names that mean nothing by themselves.
    """
    for quantity, name in columns.items():
        if name == theirs:
            return Meaning(quantity, "", -1)
    if theirs.lower().endswith(BOUNDS):
        return None
    if (exported := EXPORTED.fullmatch(theirs)) is not None:
        return meaning(exported["name"], columns)
    for quantity, pattern in FORMS:
        if (found := pattern.fullmatch(theirs)) and not _names_another(found["matrix"]):
            if _spelled(found["matrix"]) != "total":
                return Meaning(quantity, found["matrix"], 0)
            return Meaning(quantity, "", 0)
    spelled = _spelled(theirs)
    for quantity, names in NAMES.items():
        if spelled in names:
            return Meaning(quantity, "", names.index(spelled))
    if LEARNING_RATES.fullmatch(spelled):
        return Meaning("learning_rate", "", len(NAMES["learning_rate"]))
    return _of_a_matrix(theirs) or _as_asked(theirs, columns)


def check_columns(columns: Mapping[str, str]) -> None:
    """Raises `BadInput` for a name of ours that there is not, and for a * that can stand for no matrix."""
    for name, theirs in columns.items():
        if name not in NAMES:
            raise BadInput(f"--column {name}: must be one of {', '.join(NAMES)}")
        if theirs.count(ANY) > (name in OF_MATRICES) or theirs == ANY:
            raise BadInput(
                f"--column {name}={theirs}: one {ANY} beside other text, for the matrix, in one of"
                f" {', '.join(OF_MATRICES)}"
            )


def looks_like_norm(theirs: str) -> bool:
    """Whether a name that means nothing may be a norm of weights: it says so of nothing else."""
    words = re.split("[^a-z0-9]+", theirs.lower())
    return any(map(SIZES.fullmatch, words)) and not any(map(NO_WEIGHTS.fullmatch, words))


def asked_for(names: Sequence[str]) -> str:
    """What to map to read names that look like norms: one of them, or what is alike in most, with a * for the rest."""
    forms = [form for name in names if (form := _form(name))]
    most = max(forms, key=forms.count, default="")
    return most if forms.count(most) > 1 else names[0]


def _form(name: str) -> str:
    if found := BEFORE.fullmatch(name):
        return found[1] + ANY
    found = BEHIND.fullmatch(name)
    return ANY + found[1] if found else ""


def _as_asked(theirs: str, columns: Mapping[str, str]) -> Meaning | None:
    for quantity, name in columns.items():
        before, any_, behind = name.partition(ANY)
        long = len(theirs) > len(before) + len(behind)
        if any_ and long and theirs.startswith(before) and theirs.endswith(behind):
            matrix = theirs[len(before) : len(theirs) - len(behind)]
            if not _names_another(matrix):
                return Meaning(quantity, matrix, -1)
    return None


def _names_another(matrix: str) -> bool:
    """Whether a word of it says that something else than weights is meant."""
    return any(map(NO_WEIGHTS.fullmatch, re.split("[^a-z0-9]+", matrix.lower())))


def _of_a_matrix(theirs: str) -> Meaning | None:
    for mark in "/.":
        first, _, rest = theirs.partition(mark)
        before, _, last = theirs.rpartition(mark)
        for name, matrix in ((first, rest), (last, before)):
            for quantity in OF_MATRICES:
                if matrix and _spelled(name) in NAMES[quantity]:
                    return Meaning(quantity, matrix, 0)
    return None


def _spelled(theirs: str) -> str:
    return re.sub("[^a-z0-9_]+", "_", theirs.strip().lower())
