"""Does the optimal learning rate move with width and length already in models for one core?

A pilot. Nine cells per optimizer are too few to tell a bend from a straight line unless it is large; what they give is
the place of the optima, the noise between seeds and the size of bend that a larger table must be made for.
"""

from __future__ import annotations

from experiments.studies.swept import judge_bend
from experiments.studies.workplace import Findings, Workplace
from experiments.sweeps.study import Adaptive, Study, StudyCell, geometric
from gpt.config import TrainableOptimizer, TrainConfig, preset
from theory import AdamH, AdamW, Linear

PRESETS = ("cpu-16", "cpu-32", "cpu-64")
NUM_STEPS = (400, 800, 1600)
OPTIMIZERS: dict[str, TrainableOptimizer] = {
    "adamw": AdamW(learning_rate=1e-2, weight_decay=0.1),
    "adamh": AdamH(learning_rate=1e-2),
}
ADAPTIVE = Adaptive(interval=0.5, max_runs=20)


def study() -> Study:
    """Two optimizers, three widths, three lengths, two seeds, adaptive learning rates: 180 runs, at most 360."""
    return Study(
        name="lr-transfer-small",
        question="How do the optimal learning rates of AdamW and AdamH move with width and length, and does ln(optimum)"
        " bend along either?",
        hypothesis="AdamW's optimum bends along length, since in short runs the norm has not reached its equilibrium;"
        " AdamH's, which has no transient, is straight.",
        method="Scale-invariant GPT of 2 layers, widths 16, 32, 64, runs of 400, 800, 1600 steps of 1024 bytes of"
        " pysource; linear schedule after a warmup of 40 steps; learning rates by factors of 2, widened at an edge and"
        " refined until the 95 % interval of ln(optimum) is below 0.5 or 20 runs are spent; two seeds.",
        decision="The verdict of lrbend fit per optimizer and axis, at its default delta. Nine cells can miss a bend:"
        " not-identifiable is the answer wherever the power that lrbend fit states is too low.",
        scientific=("optimizer", "d_model", "num_steps"),
        nuisance=("learning_rate", "seed"),
        fixed=("weight_decay", "batch_size", "schedule", "non_matrix_learning_rate", "architecture", "source"),
        cells=tuple(
            StudyCell(
                label=f"{name}-{size.removeprefix('cpu-')}-{num_steps}",
                config=TrainConfig(
                    model=preset(size, "scale-invariant"),
                    optimizer=optimizer,
                    non_matrix_learning_rate=1e-2,
                    schedule=Linear(num_steps=num_steps, warmup_steps=40),
                    device="cpu",
                    record_every=20,
                ),
                learning_rates=geometric(2.5e-3, 2, 5),
                seeds=(0, 1),
                adaptive=ADAPTIVE,
                arm=name,
            )
            for num_steps in reversed(NUM_STEPS)  # longest first, so that the cores finish together
            for size in reversed(PRESETS)
            for name, optimizer in OPTIMIZERS.items()
        ),
    )


def run_study(place: Workplace) -> Findings:
    """All runs, and the verdicts of the decision rule."""
    return judge_bend(study(), place)
