"""Ctrl-C while a package is loaded that must be loaded whole."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from experiments.cli.interrupts import torch_loaded_whole

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
    with torch_loaded_whole(package):
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
    with torch_loaded_whole(package):
        assert import_module(package).loaded
        time.sleep(0.2)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_way_to_modules_is_as_before(package: str) -> None:
    before = list(sys.meta_path)
    with torch_loaded_whole(package):
        assert len(sys.meta_path) == len(before) + 1
    assert sys.meta_path == before


def test_in_torch_itself() -> None:
    """Ctrl-C when torch has begun to load: neither an abort nor swallowed."""
    code = (
        "import signal, sys, threading, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from experiments.cli.interrupts import torch_loaded_whole\n"
        "def when_begun():\n"
        "    while 'torch' not in sys.modules: time.sleep(0.001)\n"
        "    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)\n"
        "threading.Thread(target=when_begun, daemon=True).start()\n"
        "try:\n"
        "    with torch_loaded_whole():\n"
        "        import torch\n"
        "        time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', torch.ones(3).sum().item())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped 3.0\n", "")
