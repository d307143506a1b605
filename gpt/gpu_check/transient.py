"""One run whose norm comes down to its equilibrium, beside the closed form; nothing is fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gpt import zipf
from gpt.config import TrainConfig, preset
from gpt.gpu_check.rows import Row
from gpt.gpu_check.sizes import Size
from gpt.preset_training import SEQUENCES_AT_ONCE, training_of_preset
from gpt.train import train
from theory import AdamW, Constant, RunOutcome, predict_trajectory
from theory.measured import measured_moments
from theory.networks import SCALE_INVARIANT

PRESET, NUM_STEPS = "22M", 800
OPTIMIZER = AdamW(learning_rate=0.01, weight_decay=0.3)  # a relaxation time of 167 steps
INITIAL_RMS = 0.3  # over twice the equilibrium: from below the signal of early training would add to the growth
# On small CPU models angle and norm under the measured direction are right to 3 % (docs/validate). Under the direction
# of other small runs the norm is off by 8 % in the median and 30 % at worst (docs/held-out): told, not judged.
ANGLE_LIMIT, MEASURED_LIMIT = 0.1, 0.1
LATE = 0.75  # of the run, where the angle is read
SETTLED = 50  # steps before the first record that is judged: Adam's averages begin


def transient_rows(size: Size) -> Iterator[Row]:
    """Angle at the end, and the norm along the run under the theory with and without the measured direction."""
    training = training_of_preset(PRESET, on_gpu=size.on_gpu)
    config = TrainConfig(
        model=replace(size.model(preset(PRESET, "scale-invariant")), vocab_size=zipf.VOCAB_SIZE),
        optimizer=OPTIMIZER,
        non_matrix_learning_rate=1e-2,
        schedule=Constant(num_steps=size.steps(NUM_STEPS)),
        batch_size=size.of(SEQUENCES_AT_ONCE[PRESET], least=2),
        dtype=training.dtype,
        compile=training.compile,
        device=size.named_device,
        source="zipf",
        block_rms=INITIAL_RMS,
        record_every=1,  # the first steps are large and change from one to the next
        eval_batches=4,
    )
    result = train(config)
    if result.outcome is not RunOutcome.COMPLETED:
        note = f"the run {result.outcome}"
        yield Row(part="transient", what="angle at the end", value=None, unit="of theory", limit=ANGLE_LIMIT, note=note)
        return
    run, num_steps = result.trajectory, config.schedule.num_steps
    theory = predict_trajectory(
        OPTIMIZER, config.schedule, initial_rms=run.weight_rms[0], matrices=run.matrices, network=SCALE_INVARIANT
    ).at(run.steps)
    rates = np.full((num_steps, 1), OPTIMIZER.learning_rate)
    still = np.zeros((num_steps, 1))
    rho, _ = measured_moments(
        rates, rates * OPTIMIZER.weight_decay, OPTIMIZER.beta1, run.update_rms, still, run.weight_rms[0]
    )
    judged, late = run.steps >= min(SETTLED, num_steps // 2), run.steps >= LATE * num_steps
    angle = np.median(run.angular_update[late] / theory.angular_update[late]) - 1
    errors: dict[str, tuple[float, float | None]] = {
        "angle at the end": (abs(float(angle)), ANGLE_LIMIT),
        "norm along the run": (_worst(run.weight_rms / theory.weight_rms, judged), None),
        "norm, direction measured": (_worst(run.weight_rms / np.sqrt(rho[run.steps]), judged), MEASURED_LIMIT),
    }
    for what, (error, limit) in errors.items():
        yield Row(part="transient", what=what, value=error, unit="off, median of matrices", limit=limit)
    loss = result.final_loss - zipf.loss_floor(config.model.context_length)
    yield Row(part="transient", what="final loss above its floor", value=loss, unit="nats per token")


def _worst(ratio: np.ndarray, judged: np.ndarray) -> float:
    """Largest median over the matrices of the relative error, over the records that are judged."""
    return float(np.median(np.abs(ratio[judged] - 1), axis=1).max())
