"""The bend in GPT-2 models from 22M to 708M parameters, for GPUs. No GPU has run it."""

from __future__ import annotations

from dataclasses import asdict

from experiments.bend.mean_angle import AngleOf
from experiments.studies.swept import judge_bend
from experiments.studies.workplace import Findings, Workplace
from experiments.sweeps.study import Study, StudyCell, geometric
from gpt.config import GPU_SHAPES, TrainableOptimizer, TrainConfig, preset
from gpt.estimates import num_matrix_params
from gpt.preset_training import training_of_preset
from theory import AdamH, AdamW, Cosine

TOKENS_PER_PARAM = {"22M": (20, 80, 320), "64M": (20, 80, 320), "85M": (20, 80, 320), "302M": (20,), "708M": (20,)}
WARMUP_SHARE = 0.01
OPTIMIZERS: dict[str, TrainableOptimizer] = {
    "adamw": AdamW(learning_rate=1e-3, weight_decay=0.1),
    "adamh": AdamH(learning_rate=1e-2),
}
LEARNING_RATES = {"adamw": geometric(5e-4, 2, 5), "adamh": geometric(2.5e-3, 2, 5)}
SOURCE = "./data/fineweb"


def study() -> Study:
    """Five sizes at 20 tokens per parameter, the three smaller ones also at 80 and 320; two optimizers, one seed."""
    return Study(
        name="ladder",
        question="Does the optimal learning rate of AdamW bend along parameters or tokens from 22M to 708M parameters,"
        " and does AdamH's?",
        hypothesis="AdamW's bends where runs end before the norm has reached its equilibrium; in effective learning"
        " rate, and under AdamH, the law is straight.",
        method="Scale-invariant GPT-2, context 1024, batches of 524,288 tokens of FineWeb, cosine schedule after a"
        " warmup of 1 %; five learning rates by factors of 2; 20 tokens per non-embedding parameter for all sizes,"
        " 80 and 320 for 22M, 64M and 85M.",
        decision="The verdict of lrbend fit per optimizer and axis, at its default delta, in learning rate and in"
        " effective learning rate.",
        scientific=("optimizer", "num_params", "num_tokens"),
        nuisance=("learning_rate",),
        fixed=("weight_decay", "batch_size", "schedule", "non_matrix_learning_rate", "architecture", "seed", "source"),
        cells=tuple(
            StudyCell(
                label=f"{name}-{size}-{share}x",
                config=_config(size, share, optimizer),
                learning_rates=LEARNING_RATES[name],
            )
            for size in reversed(GPU_SHAPES)
            for share in TOKENS_PER_PARAM[size]
            for name, optimizer in OPTIMIZERS.items()
        ),
    )


def run_study(place: Workplace) -> Findings:
    """All runs, and the verdicts of the decision rule; refused where there is no GPU."""
    return judge_bend(study(), place, effective=AngleOf(schedule="cosine", warmup_fraction=WARMUP_SHARE))


def _config(size: str, tokens_per_param: int, optimizer: TrainableOptimizer) -> TrainConfig:
    model = preset(size, "scale-invariant")
    training = training_of_preset(size, on_gpu=True)
    num_steps = round(tokens_per_param * num_matrix_params(model) / (training.batch_size * model.context_length))
    return TrainConfig(
        model=model,
        optimizer=optimizer,
        non_matrix_learning_rate=1e-2,
        schedule=Cosine(num_steps=num_steps, warmup_steps=round(WARMUP_SHARE * num_steps)),
        device="cuda",
        source=SOURCE,
        gradient_clip=1.0,
        **asdict(training),
    )
