"""A checkpoint of a stranger is data: nothing of it is loaded that is not what the run saves."""

from __future__ import annotations

import io
import random
import resource
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import theory
from gpt.checkpoint import load_checkpoint, verify_checkpoint
from gpt.config import TrainConfig
from gpt.model import GPT
from gpt.optim import MATRICES, build_optimizers
from gpt.train import train
from tests.gpt.walk import CONFIG, make_text
from theory import InvalidParameter

OPTIMIZERS = {
    "adamw": CONFIG.optimizer,
    "adamc": theory.AdamC(learning_rate=1e-2, weight_decay=0.3),
    "adamh": theory.AdamH(learning_rate=1e-2),
    "muonh": theory.MuonH(learning_rate=1e-2),
}


@pytest.fixture(scope="module", params=list(OPTIMIZERS))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainConfig, Path]:
    """A config and the checkpoint of its run."""
    config = replace(CONFIG, optimizer=OPTIMIZERS[request.param])
    path = tmp_path_factory.mktemp("saved") / "c.pt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpt.train.load_text", lambda source: make_text())
        train(config, checkpoint=path)
    return config, path


def load(path: Path, config: TrainConfig) -> dict[str, Any]:
    model = GPT(config.model)
    model.initialise(1)
    return load_checkpoint(path, config, "walk 0", model, build_optimizers(model, config))


def test_what_is_saved_is_what_is_expected(saved: tuple[TrainConfig, Path]) -> None:
    config, path = saved
    state = load(path, config)
    assert state["step"] == 25
    verify_checkpoint(path)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")]
)
def test_a_checkpoint_is_not_damaged_because_memory_is_short(
    error: Exception, saved: tuple[TrainConfig, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(torch, "load", short)
    with pytest.raises(type(error)):
        load(saved[1], saved[0])


def first(found: dict[str, Any]) -> Any:
    return next(iter(found))


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no step": lambda state: state.pop("step"),
    "step of text": lambda state: state.update(step="25"),
    "step of no run": lambda state: state.update(step=10**12),
    "step of a flag": lambda state: state.update(step=True),
    "no probe": lambda state: state.pop("probe"),
    "something more": lambda state: state.update(more=1),
    "losses missing": lambda state: state.update(losses=state["losses"][:-1].clone()),
    "losses of another type": lambda state: state.update(losses=state["losses"].float()),
    "a list of losses": lambda state: state.update(losses=[1.0] * 25),
    "losses of one number": lambda state: state.update(losses=torch.ones(1, dtype=torch.float64).expand(25)),
    "a matrix missing": lambda state: state["model"].pop(first(state["model"])),
    "a matrix more": lambda state: state["model"].update(other=torch.ones(2)),
    "a matrix transposed": lambda state: state["model"].update(
        {k: v.mT if v.ndim == 2 else v for k, v in state["model"].items()}
    ),
    "a matrix of another shape": lambda state: state["model"].update({first(state["model"]): torch.ones(3, 3)}),
    "a matrix of nothing": lambda state: state["model"].update({first(state["model"]): None}),
    "not a number": lambda state: next(iter(state["model"].values())).fill_(torch.nan),
    "a list of matrices": lambda state: state.update(model=list(state["model"].values())),
    "no optimizer": lambda state: state["optimizers"].pop(MATRICES),
    "no moments": lambda state: state["optimizers"][MATRICES].update(state={}),
    "moments of another": lambda state: state["optimizers"][MATRICES]["state"].update({0: {"exp_avg": torch.ones(1)}}),
    "no groups": lambda state: state["optimizers"][MATRICES].update(param_groups=[]),
    "another peak": lambda state: state["optimizers"][MATRICES]["param_groups"][0].update(peak_lr=1.0),
    "a rate of infinity": lambda state: state["optimizers"][MATRICES]["param_groups"][0].update(lr=float("inf")),
    "other parameters": lambda state: state["optimizers"][MATRICES]["param_groups"][0].update(params=[10**9]),
    "records missing": lambda state: state["probe"]["records"].pop(),
    "records of other steps": lambda state: state["probe"].update(steps=[0, 0, 0, 0]),
}


@pytest.mark.long
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_another_structure_is_one_line_that_says_where(
    damage: str, tmp_path: Path, saved: tuple[TrainConfig, Path]
) -> None:
    config, path = saved
    content = torch.load(path, weights_only=True)
    DAMAGES[damage](content["state"])
    torch.save(content, tmp_path / "c.pt")
    with pytest.raises(InvalidParameter, match=r"what this run saves: (state|file)") as caught:
        load(tmp_path / "c.pt", config)
    assert str(tmp_path / "c.pt") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_in_the_file_takes_no_memory(tmp_path: Path, saved: tuple[TrainConfig, Path]) -> None:
    """A file of a few kilobytes whose tensor says that it has 10^12 entries, in both formats of torch."""
    config, path = saved
    content = torch.load(path, weights_only=True)
    digest = {key: content[key] for key in ("digest", "fingerprint")}
    small = io.BytesIO()
    torch.save({**digest, "state": {"step": 25, "losses": torch.ones(3)}}, small)
    lying = tmp_path / "c.pt"
    with zipfile.ZipFile(small) as old, zipfile.ZipFile(lying, "w") as new:
        for info in old.infolist():
            part = old.read(info)
            new.writestr(info.filename, part.replace(b"K\x03", b"\x8a\x06\x00\x10\xa5\xd4\xe8\x00"))
    older = tmp_path / "older.pt"
    torch.save({**digest, "state": {"step": 25}}, older, _use_new_zipfile_serialization=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, hard))
    try:
        for file in (lying, older):
            with pytest.raises(InvalidParameter):
                load(file, config)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.long
@pytest.mark.parametrize("num_bits", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_changed_bit_of_a_checkpoint_is_found(
    num_bits: int, tmp_path: Path, saved: tuple[TrainConfig, Path]
) -> None:
    _, path = saved
    rng, content, file = random.Random(0), path.read_bytes(), tmp_path / "c.pt"
    places = [rng.randrange(8 * len(content)) for _ in range(num_bits)]
    for place in [*places, *range(8 * len(content) - 8 * 70, 8 * len(content))]:  # the end, with the checksum, whole
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        file.write_bytes(changed)
        with pytest.raises(InvalidParameter):
            verify_checkpoint(file)
