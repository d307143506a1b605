"""The command line: one clear line for bad input, nothing slow before it is needed."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import h5netcdf
import pytest
from xarray.backends.file_manager import CachingFileManager

from experiments.cli import main as cli
from experiments.cli.main import main
from tests.experiments.cli.said import refusal

PREDICT = ["predict", "--learning-rate", "1e-3", "--weight-decay", "0.1", "--num-steps", "20000"]

BAD = {
    "negative learning rate": ([*PREDICT, "--learning-rate", "-1e-3"], "--learning-rate -0.001"),
    "NaN learning rate": ([*PREDICT, "--learning-rate", "nan"], "--learning-rate nan"),
    "infinite learning rate": ([*PREDICT, "--learning-rate", "-inf"], "--learning-rate -inf"),
    "text for a number": ([*PREDICT, "--learning-rate", "fast"], "'fast' is not a number"),
    "eta*lam >= 1": ([*PREDICT, "--learning-rate", "0.5", "--weight-decay", "2"], "--weight-decay 2.0"),
    "beta1 of 1": ([*PREDICT, "--beta1", "1"], "--beta1 1.0"),
    "negative beta2": ([*PREDICT, "--beta2", "-0.5"], "--beta2 -0.5"),
    "zero steps": ([*PREDICT, "--num-steps", "0"], "--num-steps 0"),
    "fraction of a step": ([*PREDICT, "--num-steps", "2.5"], "'2.5' is not a whole number"),
    "long warmup": ([*PREDICT, "--warmup-steps", "30000"], "--warmup-steps 30000"),
    "unknown flag": ([*PREDICT, "--momentum", "0.9"], "--momentum"),
    "abbreviated flag": ([*PREDICT, "--sched", "cosine"], "--sched"),
    "unknown schedule": ([*PREDICT, "--schedule", "sawtooth"], "sawtooth"),
    "unknown command": (["dance"], "dance"),
    "a command half written": (["pred"], "did you mean predict?"),
    "no command": ([], "COMMAND"),
    "a flag in place of a command": (["--verson"], "--verson: no such flag; did you mean --version?"),
    "two missing flags": (["predict"], "--learning-rate and --num-steps: required"),
    "missing flag": (["predict", "--learning-rate", "1e-3"], "--num-steps"),
    "zero over the norm": ([*PREDICT, "--network", "gpt2", "--initial-rms", "0"], "--initial-rms 0.0"),
    "decay that train has not": (
        ["train", "--learning-rate", "1e-2", "--num-steps", "3", "--decay", "coupled"],
        "--decay coupled",
    ),
    "negative initial RMS": ([*PREDICT, "--initial-rms", "-1"], "--initial-rms -1.0"),
    "tolerance": ([*PREDICT, "--tolerance", "1.5"], "--tolerance 1.5"),
    "csv nowhere": ([*PREDICT, "--csv", "/no/such/folder/table.csv"], "--csv"),
    "csv is a directory": ([*PREDICT, "--csv", "/"], "--csv"),
    "csv without a name": ([*PREDICT, "--csv", ""], "--csv"),
    "trajectory nowhere": ([*PREDICT, "--trajectory", "/no/such/folder/run.csv"], "--trajectory"),
    "records of no trajectory": ([*PREDICT, "--record-every", "5"], "--record-every"),
    "no steps between records": ([*PREDICT, "--record-every", "0", "--trajectory", "x.csv"], "--record-every 0"),
    "unknown network": ([*PREDICT, "--network", "resnet"], "resnet"),
    "a direction of no length": ([*PREDICT, "--direction", "0"], "--direction 0"),
    "a direction that is no number": ([*PREDICT, "--direction", "nan"], "--direction nan"),
    "a direction out of range": ([*PREDICT, "--direction", "1e9"], "--direction 1e+09"),
    "a direction of a sign": ([*PREDICT, "--direction", "0.9", "--optimizer", "lion"], "--direction 0.9"),
    "a network of a sign": ([*PREDICT, "--network", "scale-invariant", "--optimizer", "lion"], "--network"),
    "early gradients in white noise": ([*PREDICT, "--early-gradients", "10", "100"], "--early-gradients"),
    "early gradients of no size": (
        [*PREDICT, "--network", "scale-invariant", "--early-gradients", "0", "100"],
        "--early-gradients FACTOR 0",
    ),
    "early gradients for no time": (
        [*PREDICT, "--network", "scale-invariant", "--early-gradients", "5", "-1"],
        "--early-gradients STEPS -1",
    ),
    "a flag beside a config": (["train", "--config", "config.json", "--seed", "7"], "--seed"),
    "eta*lam >= 1 by default": ([*PREDICT[:3], "--num-steps", "9", "--learning-rate", "1e30"], "--learning-rate 1e+30"),
    "simulated beyond float32": (["simulate", *PREDICT[1:], "--gradient-rms", "1e20"], "--gradient-rms 1e+20"),
    "a vocabulary beyond 16 bits": (["train", *PREDICT[1:], "--vocab-size", "1e6"], "--vocab-size 1000000"),
    "muon without a shape": ([*PREDICT, "--optimizer", "muon"], "--shape"),
    "muon simulated without a shape": (["simulate", *PREDICT[1:], "--optimizer", "muon"], "--shape"),
    "a magnitude beyond floating point": ([*PREDICT, "--initial-rms", "1e200"], "--initial-rms 1e+200"),
    "one replica": (["simulate", *PREDICT[1:], "--num-replicas", "1"], "--num-replicas 1"),
    "negative seed": (["simulate", *PREDICT[1:], "--seed", "-1"], "--seed -1"),
    "no such preset": (["train", *PREDICT[1:], "--preset", "cpu-31"], "--preset cpu-31"),
    "no such config": (["train", "--config", "/no/such/config.json"], "/no/such/config.json"),
    "nothing to train": (["train"], "--learning-rate"),
    "fewer batches than none": (["diagnose", "runs", "--num-batches", "-1"], "--num-batches -1"),
    "report on nothing": (["report", "/no/such/directory"], "/no/such/directory"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_gives_one_line_and_exit_code_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert named in refusal(arguments, capsys)


def test_the_version_is_no_missing_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    said = capsys.readouterr()
    assert (stop.value.code, said.err) == (0, "")
    assert re.fullmatch(rf"lrbend {re.escape(project['version'])}(, commit [0-9a-f]{{40}}(\+changes)?)?\n", said.out)


def test_empty_directory_has_nothing_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "no finished run" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_unreadable_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0)
    try:
        assert main(["report", str(tmp_path)]) == 2
    finally:
        tmp_path.chmod(0o755)
    assert "permission" in capsys.readouterr().err


@pytest.mark.long
def test_parsing_imports_nothing_slow() -> None:
    """Neither flags nor a refusal want NumPy or the theory; closed forms no torch, Numba, pandas, matplotlib."""
    code = (
        "import sys; from argparse import Namespace\n"
        "from experiments.cli.main import build_parser, main\n"
        "from experiments.cli.parser import answer\n"
        "from experiments.files import BadInput\n"
        "build_parser().format_help()\n"
        "assert not {'numpy', 'theory', 'gpt', 'sim'} & set(sys.modules), 'heavy flags'\n"
        "def refuse(options): raise BadInput('no such study')\n"
        "assert answer(refuse, Namespace(), prog='lrbend') == 2\n"
        "assert not {'numpy', 'theory', 'sim'} & set(sys.modules), 'heavy refusal'\n"
        f"main({PREDICT!r})\n"
        "assert not {'torch', 'numba', 'pandas', 'matplotlib'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.long
def test_a_reader_that_stops_reading_is_no_error() -> None:
    """As in ``lrbend predict ... | head -1``."""
    code = "import sys; from experiments.cli.main import main; sys.exit(main(sys.argv[1:]))"
    rates = [str(1e-4 * k) for k in range(1, 100)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "predict", "--learning-rate", *rates, "--num-steps", "10"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate(timeout=60)
    assert b"Traceback" not in error


@pytest.mark.parametrize("module", ["experiments.cli.parser", "experiments.streams", "theory", "argparse", "json"])
def test_ctrl_c_in_the_first_moment(module: str) -> None:
    """While the first modules are read: exit code 130, no traceback."""
    code = f"""
import sys
class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.modules.pop({module!r}, None)
sys.meta_path.insert(0, Stop())
from experiments.cli.main import main
sys.exit(main("predict --learning-rate 1e-3 --weight-decay 0.1 --num-steps 100".split()))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["_environment", "lasting_streams", "interrupts_arrive", "build_parser", "answer"])
def test_ctrl_c_before_and_behind_the_command(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, place, stop)
    assert main(["study"]) == 130
    assert capsys.readouterr().err == "lrbend: stopped\n"


@pytest.mark.long
def test_a_backend_that_matplotlib_does_not_know(tmp_path: Path) -> None:
    """matplotlib reads the variable when it is imported, and raises; behind the command it is as it was."""
    words = [*PREDICT, "--plot", str(tmp_path / "x.png")]
    code = f"import os; from experiments.cli.main import main; main({words}); print(os.environ['MPLBACKEND'])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "MPLBACKEND": "nonsense"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("nonsense\n")
    assert (tmp_path / "x.png").stat().st_size > 1000


class StoppedInAFinaliser:
    def __del__(self) -> None:
        raise KeyboardInterrupt


class FailsInAFinaliser:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), False),
        (RuntimeError("Can't decrement id ref count (memory allocation failed for object header)"), False),
        (RuntimeError("Can't decrement id ref count (file write failed)"), True),
    ],
)
def test_a_finaliser_without_memory_says_nothing(
    error: Exception, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[object] = []

    def run(options: object) -> int:
        FailsInAFinaliser(error)
        for kind in (h5netcdf.File, CachingFileManager):
            half_made = object.__new__(kind)  # as Ctrl-C leaves it
            del half_made
        return 0

    monkeypatch.setattr("experiments.cli.settings.predict.run", run)
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: heard.append(lost.exc_value))
    assert main(PREDICT) == 0
    assert heard == ([error] if told else [])


def test_ctrl_c_in_a_finaliser_is_heard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: object) -> int:
        StoppedInAFinaliser()
        time.sleep(20)
        return 0

    monkeypatch.setattr("experiments.cli.settings.predict.run", run)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background has not
    try:
        assert main(PREDICT) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    said = capsys.readouterr().err
    assert "stopped" in said
    assert "Traceback" not in said
