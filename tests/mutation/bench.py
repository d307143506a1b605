"""Tests of `theory` on a bench: collected once, in a process whose forks meet them with a bug planted in memory.

A fork starts where all is imported and no cache of `theory` holds anything. What a bug at import would change cannot be
planted so; for these a bench is set up anew on a changed file (`Bench` with the few files of tests that are wanted).
"""

from __future__ import annotations

import builtins
import functools
import gc
import importlib
import inspect
import marshal
import os
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

from tests.mutation.plants import HIT

ROOMS = ("theory", "sim", "gpt", "experiments", "tests")
MEMORY = 6 * 2**30  # bytes of address space of a fork
LONGEST = 1800.0  # seconds of a fork by the clock, idle ones included
AHEAD = ("hypothesis", "mpmath", "pandas", "sympy.stats", "scipy.integrate", "scipy.optimize", "scipy.stats")
PATIENCE = 3.0  # CPU seconds that a test may take at least
SLOWER = 5.0  # times its seconds in the survey
SET_UP = "set up"


Place = tuple[str, str, int]  # of a function: its file, name and first line


@dataclass
class Survey:
    """Of one test, or of the import of a file of tests: which lines of functions of `theory` run, by module; its CPU
    seconds."""

    lines: dict[str, list[int]] = field(default_factory=dict)
    seconds: float = 0.0


class Server:
    """A plugin of pytest that, in place of running what was collected, does what is asked through a connection."""

    def __init__(self, scratch: Path, connection: Connection) -> None:
        self._connection = connection
        self._hits: set[tuple[str, int]] = set()
        self._items: dict[str, pytest.Item] = {}
        self._at_import: dict[str, Survey] = {}
        self._failed: str | None = None
        setattr(builtins, HIT, self._hits.add)
        signature = inspect.signature

        def noted_signature(function: Any, **options: Any) -> inspect.Signature:
            """Who asks for it reads the defaults, though no line runs."""
            if str(getattr(function, "__module__", "")).startswith("theory.") and hasattr(function, "__code__"):
                self._hits.add((Path(function.__code__.co_filename).stem, function.__code__.co_firstlineno))
            return signature(function, **options)

        inspect.signature = noted_signature  # type: ignore[assignment]
        for path in sorted((scratch / "theory").glob("[!_]*.py")):
            importlib.import_module(f"theory.{path.stem}")
        self._at_import["theory"] = self._survey()

    def _survey(self, seconds: float = 0.0) -> Survey:
        lines: defaultdict[str, list[int]] = defaultdict(list)
        for module, line in sorted(self._hits):
            lines[module].append(line)
        self._hits.clear()
        return Survey(dict(lines), seconds)

    def pytest_configure(self, config: pytest.Config) -> None:
        """A failing example is not made smaller: that it fails is enough."""
        from hypothesis import HealthCheck, Phase, settings

        phases, checks = (Phase.explicit, Phase.generate), list(HealthCheck)
        settings.register_profile("mutation", settings(), phases=phases, suppress_health_check=checks)
        settings.load_profile("mutation")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.nodeid.endswith(".py"):
            self._at_import[report.nodeid] = self._survey()
        if report.failed and self._failed is None:
            self._failed = f"{report.nodeid} ({SET_UP})"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and self._failed is None:
            self._failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all forks
        self._items = {item.nodeid: item for item in session.items}
        gc.unfreeze()  # what tests' conftest.py froze is not among the objects
        gc.collect()
        self._functions: defaultdict[Place, list[FunctionType]] = defaultdict(list)
        self._caches = []
        for each in gc.get_objects():
            if type(each) is FunctionType and each.__module__ and each.__module__.startswith("theory"):
                self._functions[_place(each)].append(each)
            if type(each) is functools._lru_cache_wrapper and each.__module__.split(".")[0] in ROOMS:
                self._caches.append(each)
        gc.freeze()
        self._connection.send((self._failed, list(self._items), self._at_import))
        while True:
            try:
                do, *arguments = self._connection.recv()
            except EOFError:
                return True
            self._fork(getattr(self, do), *arguments)

    def _fork(self, do: Callable[..., Any], *arguments: Any) -> None:
        child = os.fork()
        if child == 0:
            try:
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                answer = do(*arguments)
            except BaseException as error:  # of this file: those of tests are reported
                answer = error
            self._connection.send(answer)
            os._exit(0)
        ends = time.monotonic() + LONGEST
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > ends:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        if ended[1] != 0:
            slow = os.WIFSIGNALED(ended[1]) and os.WTERMSIG(ended[1]) in (signal.SIGPROF, signal.SIGKILL)
            self._connection.send("too long" if slow else "the process died")

    def survey(self, tests: list[str]) -> dict[str, Survey | None]:
        """Of each by itself: nothing is remembered from another; `None` of one that fails."""
        found: dict[str, Survey | None] = {}
        for name in tests:
            for cache in self._caches:
                cache.cache_clear()
                self._hits.clear()
            began = time.process_time()
            self._run(name)
            survey = self._survey(time.process_time() - began)
            found[name], self._failed = None if self._failed else survey, None
        return found

    def meet(self, tests: dict[str, float], place: Place, code: bytes) -> str:
        """The first of the tests (their seconds are given) that fails with that code, or `""`."""
        if code:
            self._plant(place, marshal.loads(code))
        for name, following in zip(tests, [*list(tests)[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, PATIENCE + SLOWER * tests[name])  # ends the process
            self._run(name, following)
            if self._failed:
                return self._failed
        return ""

    def _plant(self, place: Place, code: CodeType) -> None:
        """Into the functions of that place: their code, or that of the statement around them, for their defaults."""
        functions = self._functions.get(place)
        if not functions:
            raise LookupError(place)
        if code.co_name != "<module>":
            for function in functions:
                function.__code__ = code
            return
        space = dict(functions[0].__globals__)
        exec(code, space)
        (new,) = [each for each in gc.get_objects() if isinstance(each, FunctionType) and _place(each) == place]
        for function in functions:
            function.__defaults__, function.__kwdefaults__ = new.__defaults__, new.__kwdefaults__

    def _run(self, name: str, following: str | None = None) -> None:
        item, after = self._items[name], self._items[following] if following else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


def _place(function: FunctionType) -> Place:
    code = function.__code__
    return code.co_filename, code.co_qualname, code.co_firstlineno


class Bench:
    """Tests in given files of a copy of the repository, in which some files have other codes than they say.

    Attributes
    ----------
    failed : what of them could not be collected, or `None`.
    tests : their names.
    at_import : surveys of the import of each file, and of that of all of ``"theory"``.
    """

    def __init__(self, scratch: Path, files: Iterable[str], codes: dict[Path, CodeType] | None = None) -> None:
        for name in AHEAD:
            importlib.import_module(name)  # here, and so in all forks
        ours, theirs = Pipe()
        self._child = os.fork()
        if self._child == 0:
            try:
                ours.close()
                _serve(scratch, list(files), codes or {}, theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._connection = ours
        try:
            self.failed, self.tests, self.at_import = ours.recv()
        except EOFError:
            self.failed, self.tests, self.at_import = SET_UP, [], {}

    def survey(self, tests: list[str]) -> dict[str, Survey | None]:
        return self._ask("survey", tests)

    def meet(self, tests: dict[str, float], place: Place = ("", "", 0), code: CodeType | None = None) -> str:
        """The first of the tests that fails, given a code for a function, or of its statement for its defaults."""
        return self._ask("meet", tests, place, marshal.dumps(code) if code else b"")

    def _ask(self, *question: Any) -> Any:
        self._connection.send(question)
        answer = self._connection.recv()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def close(self) -> None:
        self._connection.close()
        os.waitpid(self._child, 0)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _serve(scratch: Path, files: list[str], codes: dict[Path, CodeType], connection: Connection) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.chdir(scratch)
    sys.path[:] = [str(scratch), *sys.path]
    compiled = SourceFileLoader.get_code

    def get_code(loader: SourceFileLoader, name: str) -> CodeType | None:
        return codes.get(Path(loader.path)) or compiled(loader, name)

    SourceFileLoader.get_code = get_code  # type: ignore[assignment, method-assign]
    for name in [name for name in sys.modules if name.split(".")[0] in ROOMS and name != __name__]:
        del sys.modules[name]
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "--tb=no", "-s", "-q"]
    pytest.main([*plugins, "-m", "not slow and not slurm", *files], plugins=[Server(scratch, connection)])
