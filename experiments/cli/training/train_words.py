"""What ``lrbend train`` shows: the bars of steps and of validation, where a run goes on, its summary in words."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from experiments.runs.progress import bar
from experiments.text import as_cell

if TYPE_CHECKING:
    from tqdm import tqdm

    from gpt.config import TrainConfig

UNITS = {
    "final_loss": "nats per token, on the validation text",
    "final_loss_se": "its standard error over sequences",
    "loss_floor": "the least that any model can have",
    "tokens_per_second": "in training, validation not counted",
    "num_params": "without the embeddings",
}


class Progress:
    """Bars on stderr while a run is made; without ``bars`` what is said is said all the same."""

    def __init__(self, config: TrainConfig, *, bars: bool) -> None:
        self._config, self._disabled = config, not bars
        self._bar: tqdm[Any] | None = None  # made at the first report, so that an error before it stands alone
        self._first_step, self._started = 0, 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def start(self, done: int) -> None:
        """``done`` steps were made before, as `gpt.train.train` calls it."""
        self._first_step, self._started = done, time.perf_counter()
        if done == self._config.schedule.num_steps:
            print("note: all steps were made before; only the validation is left", file=sys.stderr)
        elif done:
            print(f"note: resumed from step {done} of {self._config.schedule.num_steps}", file=sys.stderr)

    def step(self, done: int, loss: float) -> None:
        if self._bar is None:
            self._bar = self._new_bar(self._config.schedule.num_steps, "step", initial=self._first_step)
        self._bar.update(done - self._bar.n)
        speed = (done - self._first_step) * self._config.tokens_per_step / (time.perf_counter() - self._started)
        self._bar.set_postfix_str(f"loss {loss:.3f}, {speed:,.0f} tokens/s", refresh=False)

    def evaluation(self, done: int, count: int) -> None:
        if done == 0:
            self._close()
            self._bar = self._new_bar(count, "batch", desc="validation")
        elif self._bar is not None:
            self._bar.update(done - self._bar.n)

    def _new_bar(self, total: int, unit: str, **more: Any) -> tqdm[Any]:
        return bar(total=total, unit=unit, disable=self._disabled, **more)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def result_in_words(result: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """The groups of parameters, then a line per figure with its unit, and why one is missing."""
    lines = list(summary.get("parameter_groups", []))
    for key, value in result.items():
        said = as_cell(value)
        if value is None:
            said = _why_none(key, summary)
        elif key == "mfu":
            said = f"{value:.1%} of the peak FLOP/s"
        elif key == "tokens_per_second":
            said = f"{value:,.0f}"
        elif key == "num_params":
            said = f"{value:,}"
        elif key == "outcome" and summary.get("diverged_at_step") is not None:
            said = f"{value} at step {summary['diverged_at_step']}"
        if said:
            unit = f"  {UNITS[key]}" if key in UNITS and value is not None else ""
            lines.append(f"{key:18} {said}{unit}")
    return lines


def _why_none(key: str, summary: Mapping[str, Any]) -> str:
    """In place of a figure that there is not; empty where nobody would look for it."""
    if key == "mfu":
        if summary.get("tokens_per_second") is None:
            return "not known: this start made no step"
        return "not known: no peak FLOP/s is known for this device; --peak-flops gives one"
    if key == "tokens_per_second":
        return "not known: this start made no step"
    if key.startswith("final_loss") and summary.get("outcome") == "diverged":
        return "none: the run diverged"
    return "" if key == "loss_floor" else "not known"
