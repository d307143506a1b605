r"""Text logs: nanoGPT, llm.c, modded-nanogpt, Megatron and others that print a step and numbers with their names.

    iter 100: loss 3.2154, time 135.22ms, mfu 40.1%
    step    1/18865 | loss 11.009 (+nanz)| norm 15.2 (+nanz)| lr 8.57e-07 | 3056.36 ms
    s:100 trl:6.2 lr:0.000086 norm:2.1
    step:125/1480 val_loss:4.2 train_time:17000ms
    250 train 3.41
    INFO | train_inner | {"epoch": 1, "loss": "9.131", "num_updates": "100", "lr": "1e-05"}
     10%|#         | 100/1000 [00:19<02:51,  5.25it/s, loss=3.41]

All else in such a file is passed over: modded-nanogpt begins it with its own source. A line is broken where it has a
step, or the word for one, and names a loss, a rate or a norm, but without a number. Norms of single matrices
(``weight_norm/h.0.mlp 30.7``) are read by the names that tables have for them, and names that are mapped as they are.

Of several counters in a line that of optimizer steps counts: ``global_step``, then ``step``, then ``iter``. An object
without a step has that of its line or, as Hugging Face prints it, of the progress bar before it; without one, and
without a loss or a norm of gradients, it is no record. Bars count themselves only as long as nothing else does. Of
several processes that print, each line marked, the first with a record is read.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence

from experiments.logs.sources.names import ANY, OF_MATRICES, looks_like_norm, meaning
from experiments.logs.sources.raw_log import Collector, NoLog, RawLog
from experiments.logs.sources.tabular import leaves_of

STEP_WORDS = r"(?:global[ _])?step|iter(?:ation)?|s(?=:)|(?<![a-z_] )steps(?=:)|(?<=\[)batch(?==)"
VALUE_WORDS = (
    r"lm loss value|(?:reduced_)?(?:lm|train|training|val|validation|eval)[ _/](?:ce )?loss|loss/train/total|loss train"
    r"|loss|trl|tel|(?:train/|optim/)?(?:learning[ _]rate|lr)(?:_group0| \(group 0\)|-\w+/group0)?"
    r"|(?:train/|optim/)?(?:total[ _])?(?:grad(?:ient)?|params?|weights?)[ _]norm|l2_norm/grad/global|gnorm|norm"
    r"|weight_rms|update_rms|mean_w_u|train/CrossEntropyLoss"
)
NUMBER = r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|nan|inf(?:inity)?)(?![\w.])"
COUNT = r"\d{1,3}(?:,\d{3})+(?![\d,.])|\d+"
NAME = r"[A-Za-z_](?:[\w./-]|\[\w+\])*"
MAPPED = r"(?:[\w./-]|\[\w+\])+"  # what a * stands for
BETWEEN = r"['\"]?(?:\s*[:=]\s*|\s+)(?:\[|tensor\()?"
STEP = re.compile(
    rf"(?<![\w/.])({STEP_WORDS})['\"]?\s*(?:[:=]\s*)?\[?({COUNT})(?:\.0+)?(?:\s*/\s*({COUNT}))?(?!\w|\.\d)",
    re.IGNORECASE,
)
VALUE = re.compile(rf"(?<![\w/.])({VALUE_WORDS})['\"]?\s*(?:[:=]\s*)?(?:\[|tensor\()?({NUMBER})", re.IGNORECASE)
OTHER = re.compile(rf"(?<![\w./-])({NAME}){BETWEEN}({NUMBER})", re.IGNORECASE)
OF_NORMS = re.compile("norm|rms|w_?(?:dot_)?u", re.IGNORECASE)  # in a name of what matrices have
BUILD = re.compile(r"\s*(\d+) (train|val) ([\d.]+|nan|inf)\s*")
BEGINS = re.compile(rf"\W*(?:{STEP_WORDS})(?![\w.])", re.IGNORECASE)
NAMED = re.compile(r"(?<!\w)(?:loss|trl|lr|norm)(?!\w)|_loss(?!\w)", re.IGNORECASE)
ALONE = re.compile(rf"\s+(?:Train )?(?:{VALUE_WORDS}|{NAME})\s*[:=]\s*{NUMBER}\s*", re.IGNORECASE)
BAR = re.compile(r"(?<![\d.])(\d+)/(\d+) \[\d+:\d|(?<![\d.])(\d+)(?:\.0)?it/(\d+)(?:\.0)?it ")
PROCESS = re.compile(r"\[(?:rank|default)[ _]?(\d+)\]:")  # as torchrun marks the lines of each
COLOURS = re.compile(r"\x1b\[[\d;]*[A-Za-z]")
RANKS = ("global", "step", "batch", "s", "it")  # beginnings of words for a step, the best first

PLAIN = r"[+-]?\d[\d.]*(?:e[+-]?\d+)?"
GAP = re.compile(rf"(\s+|{PLAIN})", re.IGNORECASE)
BLANKS, NUMBERS = r"\s*+", rf"(?:{PLAIN})++"
MOST_FORMS = 8
LONGEST_COUNT = 15  # characters of a number of steps
LONGEST_OBJECT = 1 << 16

Value = tuple[str, re.Match[str]]  # a name, as the log has it, and where it (1) and its number (2) stand


class Form:
    """The way a program prints its lines: literal text around numbers, as a pattern that costs a tenth of a search."""

    def __init__(self, text: str, step: re.Match[str], values: Sequence[Value]) -> None:
        self.mask = _mask(text)
        self.names = [name for name, _ in values]
        pattern, place = _literal(text[: step.start(2)]) + f"({COUNT})", step.end(2)
        for _, found in values:  # names as they are, with their numbers: h.0 is not h.1
            pattern += _literal(text[place : found.start(1)]) + f"(?-i:{re.escape(found[1])})"
            pattern += _literal(text[found.end(1) : found.start(2)]) + f"({NUMBER})"
            place = found.end(2)
        self.match = re.compile(pattern + _literal(text[place:].rstrip()) + r"\s*", re.IGNORECASE).fullmatch


def _mask(text: str) -> str:
    """A line without its numbers."""
    return re.sub(r"[\d.]+", "0", " ".join(text.split()))


def _literal(text: str) -> str:
    """Text as it is, but for blanks and numbers, which may be others; numbers behind numbers are one.

    Nothing is given back once it is matched: a form that another one could divide otherwise would be tried in all ways.
    """
    found: list[str] = []
    for place, part in enumerate(GAP.split(text)):
        form = re.escape(part) if place % 2 == 0 else BLANKS if part.isspace() else NUMBERS
        if form and found[-1:] != [form]:
            found.append(form)
    return "".join(found)


class _Rows:
    """What is found goes into the log, a row at a time."""

    def __init__(self, log: Collector) -> None:
        self.log, self.row, self.planned = log, -1, 0

    def add(self, step: str | None, values: Iterable[tuple[str, object]]) -> None:
        self.row += 1
        if step is not None:
            self.log.add(self.row, "step", step.replace(",", ""))
        for name, value in values:
            self.log.add(self.row, name, value)

    def plan(self, told: str | None) -> None:
        if told is not None and len(told) <= LONGEST_COUNT:
            self.planned = max(self.planned, int(told.replace(",", "")))


class _Values:
    """Finds names with their numbers in a line."""

    def __init__(self, log: Collector) -> None:
        self.log = log
        asked = sorted(map(re.escape, log.columns.values()), key=len, reverse=True)
        words = "|".join(asked).replace(re.escape(ANY), MAPPED)
        self.asked = re.compile(rf"(?<![\w./-])({words}){BETWEEN}({NUMBER})") if asked else None

    def __call__(self, text: str) -> list[Value]:
        """The usual words, names of single matrices and mapped names, and norms of nobody knows what."""
        found = [(one[1].lower(), one) for one in VALUE.finditer(text)]
        whole = [] if self.asked is None else [one for one in self.asked.finditer(text) if self.log.wanted(one[1])]
        for one in OTHER.finditer(text):
            if OF_NORMS.search(one[1]) and not _meets(one, whole) and self._is_norm(one[1]):
                whole.append(one)
        if not whole:
            return found
        kept = [(name, one) for name, one in found if not _meets(one, whole)]
        return sorted(kept + [(one[1], one) for one in whole], key=lambda value: value[1].start())

    def _is_norm(self, name: str) -> bool:
        quantity = self.log.quantity(name)
        return quantity in OF_MATRICES or (quantity is None and looks_like_norm(name))


def _meets(one: re.Match[str], others: Iterable[re.Match[str]]) -> bool:
    return any(one.start() < other.end() and other.start() < one.end() for other in others)


def is_record(line: str, columns: Mapping[str, str]) -> bool:
    """Whether a line has a step and a number with a name."""
    stepped = STEP.search(line) or BAR.search(line)
    return bool(stepped and (VALUE.search(line) or any(meaning(one[1], columns) for one in OTHER.finditer(line))))


def read_text(lines: Iterable[str], log: Collector) -> RawLog:
    """Raises `NoLog` where no line has a step and a number with its name."""
    rows, current, bar, counted = _Rows(log), None, None, False  # current: the last step; counted: by more than bars
    made = rows.row
    forms: list[Form] = []
    values_of = _Values(log)
    process = mark = None  # the one that is read, where several print; and that of the line before
    for line, text in enumerate(lines, start=1):
        log.num_lines += 1
        if mark is not None and rows.row > made:
            process = process or mark
        made, mark = rows.row, None
        if text[:1] == "[" and (marked := PROCESS.match(text)):
            mark = marked[1]
            if process is not None and mark != process:
                continue
        for place, form in enumerate(forms):
            if (met := form.match(text)) is not None:
                current, *numbers = met.groups()
                rows.add(current, zip(form.names, numbers, strict=True))
                if place:
                    forms.insert(0, forms.pop(place))
                break
        else:
            if "\x1b" in text:
                text = COLOURS.sub("", text)
            if built := BUILD.fullmatch(text):
                rows.add(built[1], [({"train": "loss", "val": "val_loss"}[built[2]], built[3])])
                continue
            if (found := _object(text, log)) is not None:
                before = STEP.search(text[: text.find("{")])
                known = before[2] if before else bar
                if known is None and not log.are_of_record(name for name, _ in found):  # but the arguments of a program
                    log.state(line, text)
                else:
                    rows.add(None if "step" in {log.quantity(name) for name, _ in found} else known, found)
                continue
            steps = list(STEP.finditer(text))
            values = values_of(text) if steps or current is not None else []
            if steps:
                step = min(steps, key=lambda one: _rank(one[1]))
                current, counted = step[2], True
                for one in steps:
                    rows.plan(one[3])
                if not values:
                    cut_off = any(form.mask.startswith(_mask(text)) for form in forms)
                    if cut_off or NAMED.search(text, step.end()):
                        log.reject(line, text)
                    continue
                if len(forms) < MOST_FORMS and step.end() <= values[0][1].start():
                    forms.append(Form(text, step, values))
            elif reached := BAR.search(text):
                bar = reached[1] or reached[3]
                if not counted:
                    rows.plan(reached[2] or reached[4])
                    if values := values_of(text):
                        rows.add(bar, ((name, one[2]) for name, one in values))
                continue
            else:
                log.state(line, text)
                if not (values and ALONE.fullmatch(text)):  # a block of lines under one step
                    if BEGINS.match(text) and NAMED.search(text):
                        log.reject(line, text)
                    continue
            if not any(log.wanted(name) for name, _ in values):
                for name, one in values:
                    log.pass_over(name, one[2])
                continue
            rows.add(current, ((name, one[2]) for name, one in values))
    if rows.row < 0:
        raise NoLog(f"{log.where}: no line with a step and a number with its name")
    if rows.planned:
        log.planned_steps = rows.planned
    return log.finish(rows.row + 1)


def _rank(word: str) -> int:
    return next(place for place, beginning in enumerate(RANKS) if word.lower().startswith(beginning))


def _object(text: str, log: Collector) -> list[tuple[str, object]] | None:
    """Names and values of an object at the end of a line, as JSON or as Python prints it, if they are of a run."""
    text = text.rstrip()
    start = text.find("{")
    if not text.endswith("}") or start < 0 or len(text) > LONGEST_OBJECT:
        return None
    try:
        value = json.loads(text[start:])
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is odd in it as a program
                value = ast.literal_eval(text[start:].replace(": nan", ": 'nan'").replace(": inf", ": 'inf'"))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        return None
    found = list(leaves_of(value))
    told = {log.quantity(name) for name, _ in found} - {None, "step", "epoch", "matrix", "num_entries"}
    return found if told else None
