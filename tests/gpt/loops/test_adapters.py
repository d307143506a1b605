"""The callbacks of docs/probe.md in the libraries that they are for (the extra ``adapters``; skipped without it)."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from theory.trajectory import Trajectory

PAGE = Path(__file__).resolve().parents[3] / "docs" / "probe.md"
STEPS_MADE, RECORDED = 24, [0, 10, 20]


class Pairs(Dataset[dict[str, Tensor]]):
    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(64, 8, generator=generator), torch.randint(4, (64,), generator=generator)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self.layers(x), y)}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Other libraries warn of what is not this project's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        yield
        logging.disable(logging.NOTSET)


def callback(library: str) -> Any:
    """The one of the page for that library."""
    pytest.importorskip(library, reason=f"{library} is not installed: pip install -c constraints.txt -e '.[adapters]'")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if f"from {library}" in block)
    session: dict[str, Any] = {}
    exec(block, session)
    return session["ProbeCallback"]()


def check(run: Trajectory, model: Model) -> None:
    assert run.steps.tolist() == RECORDED
    assert [name.removeprefix("model.") for name in run.matrices] == ["layers.0.weight", "layers.2.weight"]
    for field, values in run.fields().items():
        assert np.isfinite(values).all(), field
    assert (run.angular_update > 0).all()
    start = [
        float(layer.weight.detach().double().square().mean().sqrt()) for layer in (model.layers[0], model.layers[2])
    ]
    np.testing.assert_allclose(run.weight_rms[0], start, rtol=1e-9)
    assert run.update_rms[0] == pytest.approx(1, rel=1e-3)  # Adam's first direction is a sign


def test_hugging_face(tmp_path: Path) -> None:
    """Two batches a step, AdamW of the Trainer, a schedule that moves before the next step, three epochs."""
    watcher = callback("transformers")
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        num_train_epochs=3,
        learning_rate=1e-2,
        weight_decay=0.1,
        lr_scheduler_type="linear",
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model=Model(), args=arguments, train_dataset=Pairs(), callbacks=[watcher])
    trainer.train()
    assert trainer.state.global_step == STEPS_MADE
    check(watcher.probe.trajectory(), Model())


def test_lightning(tmp_path: Path) -> None:
    """The same: the batches of a step, and the step, are made by a closure inside the optimizer's own call."""
    watcher = callback("lightning")
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = Model()

        def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
            return self.model(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.1)
            schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, STEPS_MADE)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        max_epochs=3,
        accumulate_grad_batches=2,
        accelerator="cpu",
        callbacks=[watcher],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(Pairs(), batch_size=4, shuffle=True))
    assert trainer.global_step == STEPS_MADE
    check(watcher.probe.trajectory(), Model())


def test_accelerate() -> None:
    """Its wrapper steps at every fourth batch; the others are no steps."""
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    from accelerate import Accelerator

    from gpt.adamh import AdamH
    from gpt.probe import Probe

    accelerator = Accelerator(gradient_accumulation_steps=4, cpu=True)
    for build in (torch.optim.AdamW, torch.optim.SGD, lambda p, lr: AdamH([w for w in p if w.ndim > 1], lr=lr)):
        model, data = Model(), Pairs()
        prepared, optimizer = accelerator.prepare(model, build(list(model.parameters()), lr=1e-2))
        probe = Probe(prepared, optimizer)
        for micro in range(16):
            with accelerator.accumulate(prepared):
                accelerator.backward(
                    prepared(data.x[4 * micro : 4 * micro + 4], data.y[4 * micro : 4 * micro + 4])["loss"]
                )
                probe.before()
                optimizer.step()
                probe.after(micro)
                optimizer.zero_grad()
        found = probe.trajectory()
        made = np.arange(16) % 4 == 3
        assert np.isfinite(found.update_rms[made]).all()
        assert np.isnan(found.update_rms[~made]).all()
        assert probe.trajectory(made_only=True).steps.tolist() == [3, 7, 11, 15]
