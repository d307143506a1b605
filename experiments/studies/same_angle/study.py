"""On real text, is the optimal learning rate of AdamW at its equilibrium norm the one that turns weights like AdamH's?

If the loss of a scale-invariant model sees a run through its angles alone, two optimizers with quite different norms
have their optima at the same mean angle per step. AdamW started at the equilibrium norm of its own learning rate turns
by the root of that rate, AdamH in proportion to its own: one optimum goes like the square of the other, with the
constant that the theory gives. Taking the transient away is what changes the exponent, and so what bends where a
transient fades.
"""

from __future__ import annotations

from experiments.sweeps.study import Study, StudyCell, geometric
from gpt.config import TrainableOptimizer, TrainConfig, preset
from theory import AdamH, AdamW, Linear

NUM_STEPS = (800, 1600, 3200)
ARMS: dict[str, TrainableOptimizer] = {
    "equilibrium": AdamW(learning_rate=0.024, weight_decay=0.1),
    "adamh": AdamH(learning_rate=0.018),
}
FACTOR = {"equilibrium": 4.0, "adamh": 2.0}  # the same angles in both
NUM_RATES = 5


def study() -> Study:
    """Two arms, three lengths, five learning rates, three seeds: 90 runs."""
    return Study(
        name="same-angle",
        question="Do AdamW at its equilibrium norm and AdamH have their optimal learning rates at the same mean angle"
        " per step, for short and long runs alike?",
        hypothesis="ln of AdamW's optimum over that predicted from AdamH's is 0 at every length, its slope in ln length"
        " twice AdamH's. The prediction is the learning rate whose mean angle by theory.predict_trajectory is the one"
        " at AdamH's measured optimum; nothing is fitted.",
        method="Scale-invariant GPT of 2 layers and width 32, 1024 bytes of pysource a step, linear schedule after a"
        " warmup of a twentieth of the run; AdamW with weight decay 0.1, every run started at the equilibrium norm of"
        " its own peak learning rate, and AdamH; everything else by Adam at 0.01. Five learning rates around what a"
        " pilot of AdamH (one seed, 1600 steps) showed, a factor of 2 apart, for AdamW of 4. Seeds 0, 1, 2 in both. A"
        " third arm, started at a sixth of its norm, was given up: in the pilot its loss did not change with the"
        " learning rate by more than the noise of 0.03, as its angles hardly do.",
        decision="Optima by lrbend fit, arm by arm. Supported if the 95 % interval of ln(measured/predicted), pooled"
        " over the lengths, holds 0 and lies within ln 2 of it, and the slope of AdamW less twice that of AdamH has an"
        " interval that holds 0; refuted if the first excludes 0 by more than the theory's known error of 15 % in the"
        " norm. Curvature is not asked: three lengths.",
        scientific=("optimizer", "num_steps"),
        nuisance=("learning_rate", "seed"),
        fixed=("weight_decay", "batch_size", "schedule", "non_matrix_learning_rate", "architecture", "source"),
        cells=tuple(
            StudyCell(
                label=f"{arm}-{num_steps}",
                config=_config(optimizer, num_steps),
                learning_rates=geometric(optimizer.learning_rate / FACTOR[arm] ** 2, FACTOR[arm], NUM_RATES),
                seeds=(0, 1, 2),
                start="equilibrium" if arm == "equilibrium" else "drawn",
                arm=arm,
            )
            for num_steps in reversed(NUM_STEPS)  # longest first, so that the cores finish together
            for arm, optimizer in ARMS.items()
        ),
    )


def _config(optimizer: TrainableOptimizer, num_steps: int) -> TrainConfig:
    return TrainConfig(
        model=preset("cpu-32", "scale-invariant"),
        optimizer=optimizer,
        non_matrix_learning_rate=1e-2,
        schedule=Linear(num_steps=num_steps, warmup_steps=num_steps // 20),
        device="cpu",
        record_every=20,
    )
