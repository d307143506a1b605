"""Ctrl-C while a package is loaded that must be loaded whole."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from experiments.cli.interrupts import compiled_code_loaded_whole, interrupts_arrive
from experiments.cli.main import main

PACKAGE = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(1000): pass\nloaded = True\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a package that is sent a Ctrl-C while it is loaded."""
    (tmp_path / "loads_slowly.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield "loads_slowly"
    signal.signal(signal.SIGINT, before)
    sys.modules.pop("loads_slowly", None)


def test_the_package_is_loaded_and_ctrl_c_arrives_behind_it(package: str) -> None:
    with compiled_code_loaded_whole([package]):
        assert import_module(package).loaded
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)
    assert sys.modules[package].loaded
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_it_the_load_is_broken_off(package: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        import_module(package)
    assert package not in sys.modules


def test_who_ignores_ctrl_c_still_does(package: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with compiled_code_loaded_whole([package]):
        assert import_module(package).loaded
        time.sleep(0.2)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_way_to_modules_is_as_before(package: str) -> None:
    before = list(sys.meta_path)
    with compiled_code_loaded_whole([package]):
        assert len(sys.meta_path) == len(before) + 1
    assert sys.meta_path == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("when", "loads"),
    [
        ("torch", "import torch; print(torch.ones(3).sum().item())"),
        ("numpy._core._multiarray_umath", "import numpy; print(numpy.ones(3).sum())"),
    ],
)
def test_ctrl_c_when_a_module_has_begun_to_load(when: str, loads: str) -> None:
    """Neither an abort nor swallowed, and what was loaded can be used: torch, and a module in C."""
    code = (
        "import signal, sys, threading, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from experiments.cli.interrupts import compiled_code_loaded_whole\n"
        "def when_begun():\n"
        f"    while {when!r} not in sys.modules: time.sleep(0.0001)\n"
        "    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)\n"
        "threading.Thread(target=when_begun, daemon=True).start()\n"
        "try:\n"
        "    with compiled_code_loaded_whole():\n"
        f"        {loads}\n"
        "        time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        f"    print('stopped'); {loads}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("stopped\n3.0\n")


def test_in_a_module_of_c() -> None:
    """Every compiled module, by whatever it is imported."""
    code = (
        "import importlib.machinery as m, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "execute = m.ExtensionFileLoader.exec_module\n"
        "def stopped(self, module):\n"
        "    if module.__name__ == 'numpy._core._multiarray_umath':\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        sum(range(1000))\n"
        "    execute(self, module)\n"
        "m.ExtensionFileLoader.exec_module = stopped\n"
        "from experiments.cli.main import main\n"
        "sys.exit(main(['predict', '--learning-rate', '1e-3', '--num-steps', '100']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1)
    assert done.stderr.startswith("lrbend predict: stopped; ")


@pytest.mark.parametrize("stopped", [True, False])
def test_an_error_that_ctrl_c_left_behind(
    stopped: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As out of NumPy's C code: nothing in it tells of the Ctrl-C."""

    def run(options: object) -> int:
        if stopped:
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(10)
        raise TypeError("Cannot compare structured arrays")

    monkeypatch.setattr("experiments.cli.runs.study.run", run)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if stopped:
            assert main(["study"]) == 130
            assert capsys.readouterr().err.startswith("lrbend study: stopped;")
        else:
            with pytest.raises(TypeError):
                main(["study"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_over_is_not_stopped(package: str) -> None:
    """A Ctrl-C that was held back reaches nobody behind the command, nor the end of Python."""
    with compiled_code_loaded_whole([package]), interrupts_arrive():
        import_module(package)
    time.sleep(0.2)


@pytest.mark.long
def test_ctrl_c_while_python_ends() -> None:
    code = (
        "import atexit, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "atexit.register(lambda: [os.kill(os.getpid(), signal.SIGINT), sum(range(1000))])\n"
        "from experiments.cli.main import main\n"
        "sys.exit(main(['predict', '--learning-rate', '1e-3', '--num-steps', '100', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
