"""Does the optimal learning rate move in models of 5M to 22M parameters as it does in those for one core?

About an hour of one H100: by FLOPs 0.4 hours at 45 % of its peak or 0.6 at 30 %, and a quarter of a minute for each of
90 runs to start and compile. No GPU has run it. The text is on every machine, so that nothing is downloaded.
"""

from __future__ import annotations

from dataclasses import replace

from experiments.files import BadInput
from experiments.studies.swept import judge_bend
from experiments.studies.workplace import Findings, Workplace
from experiments.sweeps.study import Study, StudyCell, geometric
from gpt.config import TrainableOptimizer, TrainConfig, gpu_model
from theory import AdamH, AdamW, Linear

NUM_LAYERS, WIDTHS = 7, (256, 384, 512)
NUM_STEPS, WARMUP_STEPS = (400, 800, 1600), 40
BATCH_SIZE, ACCUMULATION_STEPS = 64, 2  # 65,536 bytes a step
OPTIMIZERS: dict[str, TrainableOptimizer] = {
    "adamw": AdamW(learning_rate=1e-2, weight_decay=0.1),
    "adamh": AdamH(learning_rate=1e-2),
}


def study() -> Study:
    """Two optimizers, three widths, three lengths, five rates, one seed: 90 runs."""
    return Study(
        name="gpu-hour",
        question="How do the optimal learning rates of AdamW and AdamH move with width and length from 5M to 22M"
        " parameters, and does ln(optimum) bend along either?",
        hypothesis="As in lr-transfer-small: AdamW's optimum bends along length, since in short runs the norm has not"
        " reached its equilibrium; AdamH's, which has no transient, is straight.",
        method="Scale-invariant GPT of 7 layers, widths 256, 384, 512, context 1024, runs of 400, 800, 1600 steps of"
        " 65,536 bytes of pysource, less than one pass; bfloat16, compiled; linear schedule after a warmup of 40 steps;"
        " five learning rates by factors of 2; one seed.",
        decision="The verdict of lrbend fit per optimizer and axis, at its default delta. Nine cells of one seed can"
        " miss a bend: not-identifiable is the answer wherever the power that lrbend fit states is too low.",
        scientific=("optimizer", "d_model", "num_steps"),
        nuisance=("learning_rate",),
        fixed=("weight_decay", "batch_size", "schedule", "non_matrix_learning_rate", "architecture", "source", "seed"),
        cells=tuple(
            StudyCell(
                label=f"{name}-{width}-{num_steps}",
                config=TrainConfig(
                    model=replace(gpu_model(NUM_LAYERS, width, "scale-invariant"), vocab_size=256),
                    optimizer=optimizer,
                    non_matrix_learning_rate=1e-2,
                    schedule=Linear(num_steps=num_steps, warmup_steps=WARMUP_STEPS),
                    batch_size=BATCH_SIZE,
                    accumulation_steps=ACCUMULATION_STEPS,
                    dtype="bfloat16",
                    compile=True,
                    device="cuda",
                    gradient_clip=1.0,
                    record_every=20,
                    eval_batches=10,
                ),
                learning_rates=geometric(2.5e-3, 2, 5),
                arm=name,
            )
            for num_steps in reversed(NUM_STEPS)
            for width in reversed(WIDTHS)
            for name, optimizer in OPTIMIZERS.items()
        ),
    )


def run_study(place: Workplace) -> Findings:
    """All runs, one at a time, since they share the GPU, and the verdicts of the decision rule. Raises `BadInput`."""
    import torch

    if not torch.cuda.is_available():
        raise BadInput("gpu-hour: needs a GPU, and there is none here; lrbend plan gpu-hour says what it would make")
    return judge_bend(study(), replace(place, num_workers=1))
