"""Configs refuse what cannot be trained, and presets are the sizes their names say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import theory
from experiments.runs.configs import config_hash
from gpt.config import PRESETS, ModelConfig, Steering, TrainConfig, preset
from gpt.model import GPT, count_params
from theory import InvalidParameter

MODEL = preset("cpu-32", "gpt2")
CONFIG = TrainConfig(
    model=MODEL,
    optimizer=theory.AdamW(learning_rate=1e-2, weight_decay=0.3),
    non_matrix_learning_rate=3e-3,
    schedule=theory.Constant(num_steps=10),
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("architecture", "gpt3"),
        ("vocab_size", 0),
        ("context_length", 2.0),
        ("num_layers", True),
        ("num_heads", 3),
        ("init_rms", 0.0),
        ("init_rms", float("nan")),
        ("residual_init_rms", -1.0),
        ("embedding_init_rms", "small"),
    ],
)
def test_model_config_names_the_bad_value(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter) as error:
        dataclasses.replace(MODEL, **{name: value})
    assert (error.value.name, error.value.value) == (name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "cpu-32"),
        ("optimizer", theory.Constant(num_steps=1)),
        ("schedule", None),
        ("non_matrix_learning_rate", 0.0),
        ("batch_size", 0),
        ("seed", -1),
        ("dtype", "float16"),
        ("device", "tpu"),
        ("source", "wikipedia"),
        ("source", None),
        ("source", "./a\0b"),
        ("source", "./\ud800"),
        ("optimizer", theory.AdamH(learning_rate=1e31)),
        ("accumulation_steps", 0),
        ("accumulation_steps", 3),
        ("block_rms", 0.0),
        ("initial_factor", float("nan")),
        ("steering", "fixed"),
        ("gradient_clip", 0.0),
        ("record_every", 0),
        ("eval_batches", 0),
        ("compile", 1),
    ],
)
def test_train_config_names_the_bad_value(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter) as error:
        dataclasses.replace(CONFIG, **{name: value})
    rate = getattr(value, "learning_rate", None)  # of an optimizer, which holds what is wrong
    assert (error.value.name, error.value.value) == ((name, value) if rate is None else ("learning_rate", rate))


def test_residual_scale_becomes_explicit() -> None:
    assert MODEL.residual_init_rms == pytest.approx(0.02 / 2)  # sqrt(2 * 2 layers)
    assert preset("cpu-16", "scale-invariant").residual_init_rms == 0.25  # 1/sqrt(d_model)
    assert dataclasses.replace(MODEL, residual_init_rms=0.5).residual_init_rms == 0.5


def test_digest_tells_configs_apart() -> None:
    assert CONFIG.checkpoint_digest == dataclasses.replace(CONFIG).checkpoint_digest
    others = [
        dataclasses.replace(CONFIG, seed=1),
        dataclasses.replace(CONFIG, optimizer=theory.AdamH(learning_rate=1e-2)),
        dataclasses.replace(CONFIG, schedule=theory.Linear(num_steps=10)),
        dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, init_rms=0.03)),
    ]
    assert len({config.checkpoint_digest for config in [CONFIG, *others]}) == 5


def test_numbers_of_numpy_make_the_same_config() -> None:
    """A run begun in a notebook goes on from the command line, and the digest of older checkpoints stays."""
    rate, seed = np.array([1e-2])[0], np.arange(3)[CONFIG.seed]
    optimizer = dataclasses.replace(CONFIG.optimizer, learning_rate=rate)
    other = dataclasses.replace(CONFIG, optimizer=optimizer, seed=seed, batch_size=np.int64(CONFIG.batch_size))
    plain = dataclasses.replace(CONFIG, optimizer=dataclasses.replace(CONFIG.optimizer, learning_rate=1e-2))
    assert other.checkpoint_digest == plain.checkpoint_digest
    assert config_hash(other) == config_hash(plain)
    assert CONFIG.checkpoint_digest == "9d8e82dc229b10d1"


@pytest.mark.parametrize("source", ["pysource", "zipf", "./text", "data/", "/data/fineweb", "novel.txt"])
def test_sources(source: str) -> None:
    assert dataclasses.replace(CONFIG, source=source).source == source


def test_fields_added_later_do_not_rename_older_configs() -> None:
    """The name of a config as it was before they existed."""
    assert config_hash(CONFIG) == "99fc6d294b"
    used = [
        dataclasses.replace(CONFIG, **changes)
        for changes in (
            {"block_rms": 0.1},
            {"initial_factor": 1.5},
            {"accumulation_steps": 2},
            {"steering": Steering(norm="fixed", angle=0.1)},
        )
    ]
    for name in (config_hash, lambda config: config.checkpoint_digest):
        assert len({name(config) for config in [CONFIG, *used]}) == 5


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_size_of_their_name(name: str) -> None:
    config = preset(name, "scale-invariant")
    if name.startswith("cpu-"):
        width = int(name[4:])
        assert config == ModelConfig(
            architecture="scale-invariant",
            d_model=width,
            num_heads={64: 2, 96: 3, 128: 4}.get(width, 1),
            init_rms=width**-0.5,
        )
    else:
        with torch.device("meta"):
            model = GPT(config)
        assert count_params(model) == pytest.approx(1e6 * int(name[:-1]), rel=0.01)
        assert config.d_model // config.num_heads == 64


def test_unknown_preset() -> None:
    with pytest.raises(InvalidParameter, match="cpu-32"):
        preset("cpu-33", "gpt2")
