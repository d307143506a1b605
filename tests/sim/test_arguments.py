"""What `simulate` takes: NumPy's integers as counts, and objects of the right kind, or it says which are."""

from __future__ import annotations

import numpy as np
import pytest

from sim import simulate
from theory import AdamW, Constant, InvalidParameter

ADAMW, SCHEDULE = AdamW(learning_rate=1e-2, weight_decay=0.1), Constant(num_steps=5)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("optimizer", {"optimizer": 3}),
        ("schedule", {"schedule": 3}),
        ("noise", {"noise": 3}),
        ("noise", {"noise": None}),
        ("shape", {"shape": 3}),
    ],
)
def test_another_kind_of_object_is_named(name: str, arguments: dict[str, object]) -> None:
    given = {"optimizer": ADAMW, "schedule": SCHEDULE, "initial_rms": 0.02} | arguments
    with pytest.raises(InvalidParameter) as caught:
        simulate(**given)  # type: ignore[arg-type]
    assert caught.value.name == name


def test_counts_may_be_numpy_integers() -> None:
    counts = {"dim": 32, "num_replicas": 3, "seed": 7, "record_every": 2, "num_threads": 1}
    plain = simulate(ADAMW, SCHEDULE, initial_rms=0.02, **counts)  # type: ignore[arg-type]
    for kind in (np.int64, np.int32, np.uint8):
        given = {name: kind(count) for name, count in counts.items()}
        result = simulate(ADAMW, Constant(num_steps=kind(5)), initial_rms=0.02, **given)  # type: ignore[arg-type]
        assert result.final_rms == plain.final_rms
        assert np.array_equal(result.trajectory.weight_rms, plain.trajectory.weight_rms)
