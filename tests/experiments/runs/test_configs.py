"""Configs round-trip, and whatever is wrong with one is said on one line."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.cli.main import main
from experiments.files import BadInput, to_json
from experiments.runs.configs import config_hash, config_text, read_config
from tests.experiments.conftest import ADAMH, tiny_config, tiny_simulation
from theory import WSD, AdamW, Cosine, CosineRestarts, Muon, Tabulated

CONFIGS = [
    tiny_config(),
    tiny_config(optimizer=ADAMH, schedule=WSD(num_steps=10, decay_fraction=0.5), gradient_clip=1.0),
    tiny_config(schedule=Cosine(num_steps=7)),
    tiny_simulation(),
    tiny_config(
        optimizer=AdamW(learning_rate=0.01, weight_decay=1e-3, decay="independent"),
        schedule=CosineRestarts(num_steps=4, num_cycles=2),
        matrix_schedule=Tabulated(num_steps=4, steps=(0, 2), values=(0.5, 1.0)),
    ),
    tiny_simulation(
        optimizer=Muon(learning_rate=0.01, weight_decay=0.1, scale="moonlight", update_ratio=0.9),
        shape=(16, 16),
        dim=256,
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_round_trip(config: Any) -> None:
    text = config_text(config)
    again = read_config(json.loads(text), where="config.json")
    assert again == config
    assert config_hash(again) == config_hash(config)


def test_every_setting_changes_the_hash() -> None:
    changes: list[dict[str, object]] = [{"seed": 1}, {"optimizer": ADAMH}, {"batch_size": 3}, {"gradient_clip": 1.0}]
    hashes = {config_hash(tiny_config(**change)) for change in [{}, *changes]}
    assert len(hashes) == len(changes) + 1


def test_fields_that_came_later_are_not_written_at_their_defaults() -> None:
    written = json.loads(config_text(tiny_config()))
    assert not {"matrix_schedule"} & written.keys()
    assert not {"decay"} & written["optimizer"].keys()


def test_json_is_strict() -> None:
    assert json.loads(to_json({"a": float("nan"), "b": [float("inf"), 1.5], "c": None})) == {
        "a": None,
        "b": [None, 1.5],
        "c": None,
    }


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("seed",), "3", "seed: '3' is not a whole number"),
        (("colour",), "red", "unknown key 'colour'"),
        (("optimizer", "momentum"), 0.9, "optimizer: unknown key 'momentum'"),
        (("optimizer", "name"), "adam", "optimizer: name 'adam' is not one of"),
        (("optimizer", "learning_rate"), -1.0, "learning_rate = -1.0 must be"),
        (("schedule",), None, "schedule: expected an object"),
        (("model", "architecture"), "gpt3", "architecture"),
        (("kind",), "dance", "kind 'dance' is not one of"),
    ],
)
def test_faults_are_named(path: tuple[str, ...], value: object, expected: str) -> None:
    data = json.loads(config_text(CONFIGS[0]))
    _set(data, path, value)
    with pytest.raises(BadInput) as caught:
        read_config(data, where="config.json")
    assert str(caught.value).startswith("config.json: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)


@st.composite
def broken_configs(draw: st.DrawFn) -> Any:
    """A valid config with one to three places removed, replaced or added to."""
    data = json.loads(config_text(draw(st.sampled_from(CONFIGS[:3]))))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(data))
        if not places:
            break
        path = draw(st.sampled_from(places))
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "replace":
            _set(data, path, draw(JUNK))
        elif action == "remove":
            _remove(data, path)
        else:
            _set(data, (*path[:-1], draw(st.text(min_size=1, max_size=6))), draw(JUNK))
    return data


@pytest.mark.long
@settings(max_examples=200)
@given(data=broken_configs())
def test_two_hundred_broken_configs_never_give_a_traceback(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Either the change left a valid config, or the command ends with exit code 2 and one line."""
    with contextlib.suppress(BadInput):
        read_config(copy.deepcopy(data), where="config.json")
        return
    folder = tmp_path_factory.mktemp("broken")
    (folder / "config.json").write_text(json.dumps(data))
    assert main(["train", "--config", str(folder / "config.json"), "--out", str(folder / "runs")]) == 2
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("text", ["", "[", "null", "3", '"x"', "[1]", "{}", "\udcff"])
def test_files_that_are_not_configs(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["train", "--config", str(path), "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error


def _places(data: Any, prefix: tuple[str, ...] = ()) -> Any:
    for key, value in data.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from _places(value, (*prefix, key))


def _set(data: Any, path: tuple[str, ...], value: object) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def _remove(data: Any, path: tuple[str, ...]) -> None:
    for key in path[:-1]:
        data = data[key]
    del data[path[-1]]
