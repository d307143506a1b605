"""One try: a copy of the corpus, damaged or short of something, a command in a process of its own, and a judgement.

A child is forked from a process that has imported everything, which takes milliseconds where a start takes a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import resource
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.attack.corpus import copy_corpus
from tests.attack.damage import damage, files_below, lock_away, make_odd_things
from tests.attack.grammar import hostile_command
from tests.attack.templates import ALSO_READ, TEMPLATES

ROOT = Path(__file__).parents[2]
HANG = 60.0  # seconds: of work for a command that only reads, of silence for every other, of ending after Ctrl-C
WORK = 1.5  # seconds of a CPU after which work that was asked for is interrupted
WORKING = {"train", "replay", "diagnose", "validate", "sweep", "study", "simulate", "calibrate", "prepare", "report"}
SERVING = {"explore"}  # until it is interrupted
MOMENT = 3.0  # seconds of it
PATIENCE = 15.0  # seconds after which it is interrupted in any case: others may do the work
MEMORY = 3 << 30  # bytes beyond what is imported
LARGEST_FILE = 64 << 20

NOT_THERE = -1  # in place of the number of a stream: it is closed before the command begins

Ending = Callable[[int, float], bool]  # of (process id, seconds so far): True once a signal was sent


@dataclass
class Said:
    """What a command left: its exit code (negative: a signal), its streams, and whether it had to be ended."""

    code: int
    out: str
    err: str
    seconds: float
    ended: str = ""  # "", "interrupted" or "hang"
    real: bool = False  # a process that was not forked


@dataclass
class Try:
    """One try and what was wrong with it: ``faults`` is a list of kinds, empty if all was well."""

    number: int
    room: str
    words: list[str]
    done_before: list[str] = field(default_factory=list)
    said: Said | None = None
    faults: list[str] = field(default_factory=list)
    kills: int = 0
    folder: Path | None = None

    def command(self) -> str:
        text = shlex.join(["lrbend", *self.words]).encode(errors="backslashreplace").decode()
        return text if len(text) < 400 else text[:400] + " ..."


def call(
    arguments: Sequence[str],
    folder: Path,
    *,
    environment: dict[str, str] | None = None,
    memory: int = MEMORY,
    stdout: int | None = None,
    stderr: int | None = None,
    real: bool = False,
    kill: Callable[[int, float], None] | None = None,
    prepare: Callable[[], None] | None = None,
    patience: float = 1.0,
) -> Said:
    """Run ``lrbend ARGUMENTS`` in ``folder``.

    real : as a process of its own, not forked. kill : looks on, and may send signals. prepare : called in the child.
    patience : a factor on the time after which work is interrupted.
    """
    out, err = folder.parent / "stdout", folder.parent / "stderr"
    start = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # in the child until the command itself runs
    child = os.fork()
    if child == 0:
        _in_child(arguments, folder, environment or {}, memory, (stdout, stderr), (out, err), real, prepare)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    ended, code = "", None
    try:
        while code is None:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(0.003)
            seconds = time.monotonic() - start
            if kill is not None:
                kill(child, seconds)
            worked = _cpu_seconds(child)
            works = arguments and arguments[0] in WORKING | SERVING
            most = MOMENT if arguments and arguments[0] in SERVING else PATIENCE
            if not ended and works and (worked > patience * WORK or seconds > patience * most):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGINT)
                ended, interrupted_at = "interrupted", seconds
            too_long = worked > HANG or (seconds > HANG and worked + _cpu_seconds_of_workers(child) < 1)
            if too_long or (ended == "interrupted" and seconds - interrupted_at > HANG):
                ended = "hang"
                os.killpg(child, signal.SIGABRT)
                _, status = os.waitpid(child, 0)
                code = os.waitstatus_to_exitcode(status)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # what it may have started
    texts = [path.read_bytes().decode(errors="replace") if path.exists() else "" for path in (out, err)]
    return Said(code, *texts, time.monotonic() - start, ended, real)


def _in_child(
    arguments: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    memory: int,
    given: tuple[int | None, int | None],
    files: tuple[Path, Path],
    real: bool,
    prepare: Callable[[], None] | None,
) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.environ.update(
            {"LRBEND_CACHE": "cache", "HF_HUB_OFFLINE": "1", "BROWSER": "true", "HOME": str(folder), **environment}
        )
        for number, (one, file) in enumerate(zip(given, files, strict=True), start=1):
            target = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if one is None else one
            if target == NOT_THERE:
                os.close(number)
            else:
                os.dup2(target, number)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if real:
            os.environ["PYTHONPATH"] = str(ROOT)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            command = [sys.executable, "-m", "experiments.cli.main", *arguments]
            os.execv(sys.executable, [word.replace("\0", "") for word in command])
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        out = None if given[0] == NOT_THERE else open(1, "w", closefd=False)  # noqa: SIM115
        err = None if given[1] == NOT_THERE else open(2, "w", closefd=False, errors="backslashreplace", buffering=1)  # noqa: SIM115
        vars(sys).update(stdout=out, stderr=err)
        from experiments.cli.main import main

        try:
            if prepare is not None:
                prepare()
            code = 130  # of a signal that came before: Python's business
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        except KeyboardInterrupt:
            return
        try:
            code = main(arguments) or 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except BaseException:
            traceback.print_exc()
            code = 1
        with contextlib.suppress(Exception):
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
    finally:
        os._exit(code)


def _cpu_seconds(process: int) -> float:
    try:
        words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def _cpu_seconds_of_workers(process: int) -> float:
    """Of the other processes of its session: what it started, and now waits for."""
    others = [int(folder.name) for folder in Path("/proc").glob("[0-9]*") if int(folder.name) != process]
    return sum(_cpu_seconds(other) for other in others if _session_of(other) == process)


def _session_of(process: int) -> int | None:
    try:
        return os.getsid(process)
    except OSError:
        return None


MAY_FIND_FAULTS = {"verify", "validate", "sweep", "study"}  # exit code 1: the work was done, its verdict is no


def faults_of(words: Sequence[str], said: Said) -> list[str]:
    """What no command may do, whatever it was given."""
    if said.ended == "hang":
        return ["hang"]
    err = said.err if not said.ended else _FINALISER.sub(_half_made, said.err)
    codes = {0, 2} | ({1} if set(words[:1]) & MAY_FIND_FAULTS else set()) | ({130} if said.ended else set())
    if said.ended and said.real:  # before the first line of ours runs, Python ends by the signal
        codes.add(-signal.SIGINT)
    found = []
    if "Traceback (most recent call last)" in err:
        last = [line for line in err.splitlines() if re.match(r"^[\w.]+(Error|Exception|Interrupt|Exit)\b", line)]
        found.append("traceback " + (last[-1][:80] if last else ""))
    elif said.code not in codes:
        found.append(f"exit code {said.code}")
    for warning in re.findall(r"\b(\w*Warning:.{0,60})", said.err)[:1]:
        if not (said.ended and warning.startswith("ResourceWarning")):  # of files that Ctrl-C left open
            found.append(f"warning {warning}")
    if torchs := re.search(r"^\[[WEF]\d{4} .{0,80}", said.err, re.MULTILINE):
        found.append(f"torch's own {torchs[0]}")
    errors = [line for line in said.err.splitlines() if "error:" in line or "lrbend sweep:" in line]
    if said.code == 2 and not found and len(errors) != 1:
        found.append(f"{len(errors)} lines say what is wrong")
    if said.code == 0 and not found and errors:
        found.append("a success that says what is wrong")
    if said.code == 2 and "--json" in words and said.out.strip() and "stdout" not in said.err:
        found.append("an answer beside exit code 2")
    if "\x1b[2J" in said.err + said.out:
        found.append("terminal escape")
    if said.code == 0 and "--json" in words and not {"-h", "--help"} & set(words):
        try:
            json.loads(said.out, parse_constant=lambda word: (_ for _ in ()).throw(ValueError(word)))
        except ValueError as error:
            found.append(f"not JSON: {str(error)[:40]}")
    return found


_FINALISER = re.compile(r"Exception ignored in: .*\nTraceback \(most recent call last\):\n(?:[ \t].*\n)+.*\n?")


HALF_MADE = {"llvmlite", "numba", "h5netcdf", "h5py"}


def _half_made(block: re.Match[str]) -> str:
    """A traceback out of a finaliser of llvmlite or HDF5, whose objects Ctrl-C leaves half made, is not ours."""
    files = re.findall(r'File "([^"]*)"', block[0])
    return "" if files and all(HALF_MADE & set(Path(file).parts) for file in files) else block[0]


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file of every finished run, as far as it can be read."""
    found = {}
    for path in (*folder.glob("runs/*/*"), *folder.glob("swept/*/*")):
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def faults_left(words: Sequence[str], folder: Path, before: dict[str, str]) -> list[str]:
    """Of finished runs that changed, got lost or came twice, and of new files that were never renamed.

    A file that the command was told to write is its user's business. `lrbend diagnose` puts a file into a run and into
    the list of its checksums.
    """
    after, told = contents(folder), {os.path.normpath(word) for word in words if len(word) < 300 and "\0" not in word}
    lost = {path for path in before if after.get(path) != before[path]} - told
    if words[:1] == ["diagnose"]:
        lost = {path for path in lost if not path.endswith(("checksums.json", "diagnosis.json"))}
    found = [f"changed a finished run: {sorted(lost)[0]}"] if lost else []
    for place in ("runs", "swept", "made"):
        names = [path.parent.name.rpartition("-")[2] for path in folder.glob(f"{place}/*/summary.json")]
        found += [f"a run twice in {place}"] if len(set(names)) < len(names) else []
    left = list(folder.rglob(f".*.{'[0-9a-f]' * 16}.partial"))
    return found + ([f"left behind: {left[0].relative_to(folder)}"] if left else [])


def attack_once(
    number: int,
    seed: int,
    corpus: Path,
    place: Path,
    rooms: dict[str, Callable[..., None]],
    *,
    room: str | None = None,
    command: str | None = None,
) -> Try:
    """The try of that number: all of it follows from the seed, and from room and command if they are asked for."""
    rng = random.Random(f"{seed}:{number}")
    sandbox = place / f"{seed}-{number}" / "a" / "sandbox"
    sandbox.parent.mkdir(parents=True)
    run = copy_corpus(corpus, sandbox)
    before_odd = Path.cwd()
    os.chdir(sandbox)
    make_odd_things(sandbox / "odd")
    os.chdir(before_odd)
    name = rng.choices([None, *rooms], weights=[60, *[1] * len(rooms)])[0]
    name = room or name
    one = Try(number, name or "command", [], folder=sandbox.parents[1])
    if name in rooms:
        rooms[name](one, rng, sandbox, run)
    else:
        _hostile_try(one, rng, sandbox, run, command)
    strangers = {path.name for path in sandbox.parent.iterdir()} - {"sandbox", "stdout", "stderr"}
    strangers |= {path.name for path in sandbox.parents[1].iterdir()} - {"a"}
    if ".." in str(one.words):
        strangers = set()  # it was told to
    one.faults += [f"wrote outside: {sorted(strangers)[0]}"] if strangers else []
    if not one.faults:
        lock_away(sandbox)
        lock_away(sandbox.parents[1])
    return one


def _hostile_try(one: Try, rng: random.Random, sandbox: Path, run: str, command: str | None) -> None:
    name = rng.choice(sorted(TEMPLATES))
    name = command or name
    damaged = rng.random() < 0.6
    one.words = hostile_command(rng, name, run, changes=rng.choice((0, 0, 0, 1) if damaged else (0, 1, 1, 2, 3, 5)))
    if damaged:
        named = {part for word in one.words[1:] for part in (word, word.partition("=")[2], word.partition(":")[2])}
        own = {part for part in named if 0 < len(part) < 200 and not part.startswith(("-", "..", "/", "x/", "odd"))}
        files = files_below(sandbox, sorted(own)) if rng.random() < 0.7 else []
        files = files or files_below(sandbox, ALSO_READ.get(name, ()))
        for path in rng.sample(files, min(len(files), rng.choice((1, 1, 1, 2, 4)))):
            one.done_before.append(f"{damage(rng, path)} {path.relative_to(sandbox)}")
    before = contents(sandbox)
    memory = rng.choice((MEMORY,) * 9 + (50 << 20, 150 << 20))
    if memory != MEMORY:
        one.done_before.append(f"{memory >> 20} MB of memory")
    one.said = call(one.words, sandbox, memory=memory, real=rng.random() < 0.01)
    one.faults = faults_of(one.words, one.said) + faults_left(one.words, sandbox, before)
