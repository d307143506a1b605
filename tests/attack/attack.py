"""The attack: hostile commands by the thousand, counted. ``make fuzz`` runs it.

    python -m tests.attack.attack [--tries 1000] [--budget 600] [--seed 0] [--only NUMBER] [--room KIND]
        [--command NAME] [--also ROOM TRIES] [--out FOLDER]

Commands from the grammars of all parsers on a small corpus of files of every kind, which are damaged; kills at random
times, small disks, closed pipes, odd environments. Faults are tracebacks, warnings, hangs, other exit codes than 0, 1,
2 (and 130 after Ctrl-C), more or fewer than one line for bad input, no JSON where it was asked for, files outside of
the folder, terminal escapes, and finished runs that change, get lost or double.

Prints each fault with the command that repeats it, then counts. Exit code 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.attack.corpus import make_corpus
from tests.attack.damage import lock_away
from tests.attack.rooms import ROOMS, NoDisk
from tests.attack.templates import TEMPLATES
from tests.attack.tries import ROOT, Try, attack_once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--budget", type=float, default=600.0, help="seconds after which no further try begins")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this try and show all of it")
    parser.add_argument("--room", choices=["command", *ROOMS], help="tries of this kind alone")
    parser.add_argument("--also", nargs=2, action="append", default=[], metavar=("ROOM", "TRIES"), help="then these")
    parser.add_argument("--command", choices=sorted(TEMPLATES), help="tries of this command alone")
    parser.add_argument("--out", type=Path, help="where the folders of faults stay (default: a temporary folder)")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="lrbend-attack-"))
    out = out.resolve()
    _import_all()
    corpus = out / "corpus"
    if not corpus.exists():
        make_corpus(corpus)
    numbers = [(options.room, number) for number in (range(options.tries) if options.only is None else [options.only])]
    numbers += [(room, number) for room, tries in options.also for number in range(int(tries))]
    start = time.monotonic()
    rooms, codes, faults, skipped = Counter[str](), Counter[int](), Counter[str](), Counter[str]()
    kills = 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the counts so far are told
    for room, number in numbers:
        if options.only is None and time.monotonic() - start > options.budget:
            break
        lock_away(out / f"{options.seed}-{number}")
        try:
            one = attack_once(number, options.seed, corpus, out, ROOMS, room=room, command=options.command)
        except NoDisk as reason:
            skipped[str(reason)] += 1
            continue
        except KeyboardInterrupt:
            break
        except Exception as error:  # the attack's own fault, of which there may be none either
            one = Try(number, room or "?", [], faults=[f"the attack broke: {error!r}"])
        rooms[one.room] += 1
        kills += one.kills
        codes.update([one.said.code] if one.said else [])
        faults.update({fault.split(":")[0][:60] for fault in one.faults})
        if one.faults or options.only is not None:
            _show(one, options, room, everything=options.only is not None)
    total = sum(rooms.values())
    told = {"rooms": rooms, "exit_codes": codes, "skipped": skipped, "faults": faults}
    counts = {name: dict(counter.most_common()) for name, counter in told.items()}
    seconds = round(time.monotonic() - start)
    print(json.dumps({"seed": options.seed, "tries": total, "seconds": seconds, "kills": kills, **counts}))
    if not faults and options.out is None:
        lock_away(out)
    return 1 if faults else 0


def _show(one: Try, options: argparse.Namespace, room: str | None, *, everything: bool) -> None:
    only = f"--seed {options.seed} --only {one.number}"
    only += f" --room {room}" if room else ""
    only += f" --command {options.command}" if options.command else ""
    print(f"{'; '.join(one.faults) or 'no fault'}\n  {one.command()}")
    if one.done_before:
        print(f"  after: {'; '.join(one.done_before)}")
    print(f"  {one.folder}; again: python -m tests.attack.attack {only}", flush=True)
    if one.said is not None:
        err = one.said.err if everything else one.said.err[-1500:]
        print("".join(f"    | {line}\n" for line in err.replace("\x1b", "ESC").splitlines()[-40:]), end="")
        if everything:
            print(f"  exit code {one.said.code}, {one.said.seconds:.1f} s\n{one.said.out[-2000:]}")
    sys.stdout.flush()


def _import_all() -> None:
    """Everything that a command may import, so that a child need not."""
    warnings.resetwarnings()
    warnings.simplefilter("default")
    warnings.simplefilter("ignore", DeprecationWarning)  # as Python does, but for what is ours
    warnings.filterwarnings("default", category=DeprecationWarning, module=r"(experiments|gpt|sim|theory)\b")
    for package in ("experiments", "gpt", "sim", "theory"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if name != "experiments.runs.torchrun":
                import_module(name)


if __name__ == "__main__":
    sys.exit(main())
