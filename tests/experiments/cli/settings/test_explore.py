"""``lrbend explore``: its fields are the flags of ``lrbend predict``, with the same numbers and refusals."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.cli.main import main
from experiments.cli.settings.explore import Fields, fields_from
from experiments.explore.asked import MOST, RefusedField
from experiments.explore.fields import FIELDS, NAMES
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.cli.test_help import parser_of
from theory import SGDM, AdamW, Constant, Cosine, Lion, Tabulated

FIELDS_READ = Fields()
PLAIN = {"learning_rate": "1e-3", "num_steps": "300"}
ROOT = Path(__file__).parents[4]

SETTINGS = {
    "plain": {},
    "all of AdamW": {
        **{"weight_decay": "0.3", "beta1": "0.95", "beta2": "0.999", "schedule": "wsd", "warmup_steps": "20"},
        **{"final_fraction": "0.1", "decay_fraction": "0.3", "initial_rms": "0.05", "finite_beta2": "1"},
    },
    "no decay": {"weight_decay": "0"},
    "independent": {"decay": "independent", "weight_decay": "1e-4", "schedule": "cosine"},
    "a network": {"network": "scale-invariant", "direction": "0.9", "tolerance": "0.1"},
    "muon": {"optimizer": "muon", "shape": "8 x 16"},
    "what lion has not": {"optimizer": "lion", "gradient_rms": "2", "direction": "0.9", "num_cycles": "5"},
    "restarts": {"schedule": "cosine-restarts", "num_cycles": "3"},
    "on the sphere": {"optimizer": "adamh", "weight_decay": "0.2", "decay": "pytorch"},
}


@pytest.mark.parametrize("fields", SETTINGS.values(), ids=SETTINGS.keys())
def test_the_command_line_gives_the_same_numbers(fields: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    asked = FIELDS_READ.read({**PLAIN, **fields})
    program, *words = shlex.split(asked.command)
    assert program == "lrbend"
    assert main([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert strict_json(said.out) == asked.solve().answer
    assert said.err == "", "a field that means nothing is in the command line"


REFUSED = {
    "text": ({"learning_rate": "fast"}, "learning_rate"),
    "no number": ({"weight_decay": "nan"}, "weight_decay"),
    "two numbers": ({"learning_rate": "1 2"}, "learning_rate"),
    "a sign flipped": ({"learning_rate": "1", "weight_decay": "3"}, "weight_decay"),
    "a fraction of a step": ({"num_steps": "2.5"}, "num_steps"),
    "a long warmup": ({"warmup_steps": "400"}, "warmup_steps"),
    "a decay that is not": ({"optimizer": "lion", "decay": "adamc"}, "decay"),
    "no shape": ({"optimizer": "muon"}, "shape"),
    "half a shape": ({"optimizer": "muon", "shape": "8"}, "shape"),
    "an unknown optimizer": ({"optimizer": "sophia"}, "optimizer"),
    "an unknown schedule": ({"schedule": "saw"}, "schedule"),
    "a network of others": ({"optimizer": "lion", "network": "gpt2"}, "network"),
    "a direction": ({"direction": "north"}, "direction"),
    "from zero": ({"network": "gpt2", "initial_rms": "0"}, "initial_rms"),
}


@pytest.mark.parametrize(("fields", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_is_what_the_command_line_refuses(
    fields: dict[str, str], field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**PLAIN, **fields}
    with pytest.raises(RefusedField) as caught:
        FIELDS_READ.read(given).solve()
    assert caught.value.field == field
    words = [word for name, text in given.items() for word in _typed(name, text)]
    assert refusal(["predict", *words], capsys) == f"lrbend predict: error: {caught.value}\n"


def _typed(name: str, text: str) -> list[str]:
    flag = "--" + name.replace("_", "-")
    return [flag, *text.split()] if name == "shape" else [flag, text]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schedule": "file:/etc/passwd"}, "the page reads no file"),
        ({"direction": "file:/etc/passwd", "network": "scale-invariant"}, "the page reads no file"),
        ({"num_steps": str(MOST["num_steps"] + 1)}, f"--num-steps 1000001: must be at most {MOST['num_steps']}"),
        ({"schedule": "cosine-restarts", "num_cycles": "21"}, "--num-cycles 21: must be at most 20"),
        ({"optimizer": "muonh", "shape": "8 1e6"}, "--shape 1000000: must be at most 100000"),
        ({"csv": "/tmp/x"}, "not a field"),
        ({"learning_rate": "--csv"}, "--learning-rate"),
        ({"learning_rate": "1e-3\n--csv"}, "not a number"),
        ({"num_steps": "9" * 5000}, "--num-steps"),
    ],
)
def test_a_page_can_ask_for_no_file_and_no_flood(fields: dict[str, str], said: str) -> None:
    with pytest.raises(RefusedField, match=said):
        FIELDS_READ.read({**PLAIN, **fields})


def test_fields_start_where_the_flags_do() -> None:
    """A field that is left out of a question is at the default that the page shows."""
    parser = parser_of("predict")
    for field in FIELDS:
        flag = parser.get_default(field.name)
        if field.kind == "check":
            assert flag is False
        elif field.default and flag is not None:
            assert field.default == str(flag) or float(field.default) == flag, field.name
    assert set(NAMES) <= {action.dest for action in parser._actions}


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(learning_rate=2e-3, weight_decay=0.3, beta1=0.8),
        AdamW(learning_rate=2e-3, weight_decay=1e-4, decay="independent"),
        Lion(learning_rate=1e-4, weight_decay=1.0),
        SGDM(learning_rate=0.1, weight_decay=1e-3, decoupled=True),
    ],
)
def test_a_run_gives_the_fields_that_give_it_back(optimizer: AdamW | Lion | SGDM) -> None:
    schedule = Cosine(num_steps=500, warmup_steps=20, final_fraction=0.1)
    fields = fields_from(optimizer, schedule, 0.03)
    assert fields is not None
    asked = FIELDS_READ.read(fields)
    assert (asked.optimizer, asked.schedule, asked.model["initial_rms"]) == (optimizer, schedule, 0.03)


def test_a_tabulated_schedule_has_no_fields() -> None:
    schedule = Tabulated(num_steps=9, steps=(0, 8), values=(1.0, 0.5))
    assert fields_from(AdamW(learning_rate=1e-3, weight_decay=0.1), schedule, 0.02) is None
    assert fields_from(AdamW(learning_rate=1e-3, weight_decay=0.1), Constant(num_steps=9), 0.02) is not None


def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}: " in refusal(["explore", "--port", str(port), "--no-browser"], capsys)


@pytest.mark.parametrize("words", [["--port", "65536"], ["--port", "-1"], ["--run", "/no/such/run"]])
def test_refused_before_anything_is_served(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert words[1] in refusal(["explore", "--no-browser", *words], capsys)


@contextlib.contextmanager
def explorer(*words: str) -> Iterator[subprocess.Popen[str]]:
    # a process in the background has no such handler
    handled = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{handled}; from experiments.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "explore", "--no-browser", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.long
def test_the_first_line_is_the_address_and_ctrl_c_is_quiet() -> None:
    """By a process of its own: light modules only, exit code 130, nothing on stderr."""
    with explorer() as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("/\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
        assert (process.returncode, out, err) == (130, "", "")


@pytest.mark.long
def test_nothing_slow_is_imported_to_serve() -> None:
    code = """
import sys
from experiments.explore import server
server.Server.serve_forever = lambda self: None
from experiments.cli.main import main
assert main(["explore", "--no-browser"]) == 0
slow = {"torch", "numba", "pandas", "matplotlib"} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
