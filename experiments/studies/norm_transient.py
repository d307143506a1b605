"""Does the transient of the weight norm set how AdamW's optimal learning rate goes with the length of a run?

The causal test on real text: three arms that differ in nothing but their norms. In *slow* the matrices start five times
below the norm of equilibrium, so that a short run ends before the norm has arrived; in *equilibrium* every run starts
at the norm where its own learning rate ends; in *adamh* the norm never moves. The model is scale-invariant: the loss
can see a run through its angles alone.
"""

from __future__ import annotations

from dataclasses import replace

from experiments.study import Adaptive, Study, StudyCell, geometric
from gpt.config import TrainConfig, preset
from theory import AdamH, AdamW, Linear

NUM_STEPS = (200, 400, 800, 1600, 3200)
WEIGHT_DECAY = 0.1
SLOW_RMS = 0.04
ADAPTIVE = Adaptive(interval=0.4, max_runs=30)
FIRST_RATES = {"slow": 2.5e-3, "equilibrium": 2.5e-3, "adamh": 2.5e-3}


def study() -> Study:
    """Three arms, five lengths, three seeds, five learning rates or more: 225 runs, at most 450."""
    return Study(
        name="norm-transient",
        question="Does AdamW's optimal learning rate go differently with the length of a run when the transient of the"
        " weight norm is taken away, and as differently as the theory of the norm says?",
        hypothesis="The loss sees the angles. So the optimum in mean angle per step is the same function of length in"
        " all arms. AdamH's optimum being theta*(T), that of the equilibrium arm goes like theta*(T)^2, and that of the"
        " slow arm is the learning rate at which theory.optimal_lr.mean_angle is theta*(T): its slope in ln T is less"
        " negative than the equilibrium arm's. No constant is fitted.",
        method="Scale-invariant GPT of 2 layers and width 32, 1024 bytes of pysource a step, linear schedule with a"
        " warmup of a twentieth of the run, AdamW with weight decay 0.1 started at RMS 0.04 or at its own equilibrium,"
        " AdamH; everything else at Adam 0.01. Learning rates by factors of 2, widened at an edge and refined until the"
        " 95 % interval of ln(optimum) is below 0.4 or 30 runs are spent; three seeds, the same in all arms.",
        decision="Optima and slopes from lrbend fit. The mechanism is supported if the slope of slow less that of"
        " equilibrium has a 95 % interval above 0 and holds the predicted difference, where the prediction is that of"
        " the theory from AdamH's measured optima; refuted if the interval excludes the prediction and holds 0. The"
        " same for the optima in measured mean angle: slopes of the three arms alike. Curvature along length by the"
        " verdict of lrbend fit; five lengths of one width can tell only a large one.",
        scientific=("initial_rms", "optimizer", "num_steps"),
        nuisance=("learning_rate", "seed"),
        fixed=("weight_decay", "batch_size", "schedule", "non_matrix_learning_rate", "architecture", "source"),
        cells=tuple(
            StudyCell(
                label=f"{arm}-{num_steps}",
                config=_config(arm, num_steps),
                learning_rates=geometric(FIRST_RATES[arm], 2, 5),
                seeds=(0, 1, 2),
                adaptive=ADAPTIVE,
                start="equilibrium" if arm == "equilibrium" else "drawn",
                arm=arm,
            )
            for num_steps in reversed(NUM_STEPS)  # longest first, so that the cores finish together
            for arm in FIRST_RATES
        ),
    )


def _config(arm: str, num_steps: int) -> TrainConfig:
    adamw = AdamW(learning_rate=1e-2, weight_decay=WEIGHT_DECAY)
    model = preset("cpu-32", "scale-invariant")
    return TrainConfig(
        model=replace(model, init_rms=SLOW_RMS, residual_init_rms=SLOW_RMS) if arm == "slow" else model,
        optimizer=AdamH(learning_rate=1e-2) if arm == "adamh" else adamw,
        non_matrix_learning_rate=1e-2,
        schedule=Linear(num_steps=num_steps, warmup_steps=num_steps // 20),
        device="cpu",
        record_every=20,
    )
