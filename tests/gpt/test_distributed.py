"""Two processes over gloo train what one process trains."""

from __future__ import annotations

import dataclasses
import datetime
import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

import gpt.train
import theory
from gpt.config import TrainConfig
from gpt.distributed import Processes, join_processes, pick_device
from gpt.train import train
from tests.fresh import import_all_of_torch, run_fresh
from tests.gpt.walk import CONFIG, make_text
from theory import InvalidParameter

SHARED = dataclasses.replace(
    CONFIG, schedule=theory.Linear(num_steps=20), record_every=5, gradient_clip=0.5, dtype="float64"
)

PARTS = (1, 2)  # accumulation steps


@pytest.fixture(autouse=True)
def walk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.train.load_text", lambda source: make_text())


def work(folder: Path, rank: int, config: TrainConfig) -> None:
    """What one of two processes does. They meet over a file: a test should not depend on a free port."""
    timeout = datetime.timedelta(seconds=60)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timeout)
    said: list[int] = []
    result = train(config, checkpoint=folder / f"{rank}.pt", on_progress=lambda done, loss: said.append(done))
    found = {
        "losses": result.losses.tolist(),
        "weight_rms": result.trajectory.weight_rms.tolist(),
        "final_weight_rms": list(result.final_weight_rms.values()),
        "final_loss": result.final_loss,
        "said": said,
    }
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def start_pairs(folder: str) -> None:
    """In a fresh process: two processes for each number of accumulation steps."""
    import_all_of_torch()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    gpt.train.load_text = lambda source: make_text()
    context = multiprocessing.get_context("fork")
    for parts in PARTS:
        own = Path(folder, str(parts))
        own.mkdir()
        config = dataclasses.replace(SHARED, accumulation_steps=parts)
        workers = [context.Process(target=work, args=(own, rank, config)) for rank in (0, 1)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=120)
            worker.kill()
        assert [worker.exitcode for worker in workers] == [0, 0]


@pytest.mark.long
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    run_fresh(start_pairs, str(tmp_path))
    alone = train(SHARED)
    for parts in PARTS:
        folder = tmp_path / str(parts)
        first, second = (json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1))
        for key in ("losses", "weight_rms", "final_weight_rms", "final_loss"):
            assert first[key] == second[key]
        np.testing.assert_allclose(first["losses"], alone.losses, rtol=1e-5)
        np.testing.assert_allclose(first["weight_rms"], alone.trajectory.weight_rms, rtol=1e-5)
        np.testing.assert_allclose(first["final_weight_rms"], list(alone.final_weight_rms.values()), rtol=1e-5)
        assert first["final_loss"] == pytest.approx(alone.final_loss, rel=1e-5)
        assert (first["said"], second["said"]) == ([1, 6, 11, 16, 20], [])
        assert (folder / "0.pt").exists()
        assert not (folder / "1.pt").exists()


@pytest.mark.long
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_changes_rounding_alone(parts: int) -> None:
    whole, divided = train(SHARED), train(dataclasses.replace(SHARED, accumulation_steps=parts))
    np.testing.assert_allclose(divided.losses, whole.losses, rtol=1e-9)
    assert not np.array_equal(divided.losses, whole.losses)


def test_alone_nothing_is_shared() -> None:
    alone = join_processes(CONFIG)
    assert (alone.rank, alone.count, alone.is_first) == (0, 1, True)
    model = torch.nn.Linear(2, 2)
    assert alone.share(model) is model
    assert alone.any(True)
    assert not alone.any(False)
    assert Processes(1, 4, torch.device("cpu")).rows == slice(1, None, 4)


def test_a_batch_must_be_divisible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    with pytest.raises(InvalidParameter, match="3 processes x 1 accumulation steps"):
        join_processes(CONFIG)


def test_device_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == pick_device("cpu").type == "cpu"
    with pytest.raises(InvalidParameter, match="without a GPU"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == pick_device("cuda").type == "cuda"
    assert pick_device("cpu").type == "cpu"
