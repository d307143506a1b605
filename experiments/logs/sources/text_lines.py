"""Text logs: nanoGPT, llm.c, modded-nanogpt, Megatron and others that print a step and numbers with their names.

    iter 100: loss 3.2154, time 135.22ms, mfu 40.1%
    step    1/18865 | loss 11.009 (+nanz)| norm 15.2 (+nanz)| lr 8.57e-07 | 3056.36 ms
    s:100 trl:6.2 lr:0.000086 norm:2.1
    step:125/1480 val_loss:4.2 train_time:17000ms
    250 train 3.41

All else in such a file is passed over: modded-nanogpt begins it with its own source. A line is broken where it has a
step, or the word for one, and names a loss, a rate or a norm, but without a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from experiments.logs.sources.raw_log import Collector, NoLog, RawLog

STEP_WORDS = r"(?:global[ _])?step|iter(?:ation)?|s(?=:)"
VALUE_WORDS = (
    r"(?:lm|train|training|val|validation|eval)[ _/]loss|loss|trl|tel"
    r"|(?:train/|optim/)?(?:learning[ _]rate|lr)(?:_group0)?"
    r"|(?:train/|optim/)?(?:total[ _])?(?:grad(?:ient)?|params?|weights?)[ _]norm|gnorm|norm"
    r"|weight_rms|update_rms|mean_w_u|train/CrossEntropyLoss"
)
NUMBER = r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|nan|inf(?:inity)?)(?![\w.])"
STEP = re.compile(rf"(?<![\w/.])(?:{STEP_WORDS})['\"]?\s*[:=]?\s*(\d+)(?:\s*/\s*(\d+))?(?!\w|\.\d)", re.IGNORECASE)
VALUE = re.compile(rf"(?<![\w/.])({VALUE_WORDS})['\"]?\s*[:=]?\s*({NUMBER})", re.IGNORECASE)
BUILD = re.compile(r"\s*(\d+) (train|val) ([\d.]+|nan|inf)\s*")
BEGINS = re.compile(rf"\W*(?:{STEP_WORDS})(?![\w.])", re.IGNORECASE)
NAMED = re.compile(r"(?<!\w)(?:loss|trl|lr|norm)(?!\w)|_loss(?!\w)", re.IGNORECASE)
ALONE = re.compile(rf"\s+(?:{VALUE_WORDS})\s*[:=]\s*{NUMBER}\s*", re.IGNORECASE)


GAP = re.compile(r"(\s+|[+-]?\d[\d.]*(?:e[+-]?\d+)?)", re.IGNORECASE)
MOST_FORMS = 8


class Form:
    """The way a program prints its lines: literal text around numbers, as a pattern that costs a tenth of a search."""

    def __init__(self, text: str, step: re.Match[str], values: Sequence[re.Match[str]]) -> None:
        self.mask = _mask(text)
        spans = [(step.span(1), r"(\d+)"), *((one.span(2), f"({NUMBER})") for one in values)]
        pattern, place, self.names = "", 0, [one[1].lower() for one in values]
        for (start, end), number in spans:
            pattern += _literal(text[place:start]) + number
            place = end
        self.match = re.compile(pattern + _literal(text[place:].rstrip()) + r"\s*", re.IGNORECASE).fullmatch


def _mask(text: str) -> str:
    """A line without its numbers."""
    return re.sub(r"[\d.]+", "0", " ".join(text.split()))


def _literal(text: str) -> str:
    """Text as it is, but for blanks and numbers, which may be others."""
    parts = GAP.split(text)
    return "".join(
        re.escape(part) if place % 2 == 0 else (r"\s*" if part.isspace() else r"[\d.e+-]+")
        for place, part in enumerate(parts)
    )


def read_text(lines: Iterable[str], log: Collector) -> RawLog:
    """Raises `NoLog` where no line has a step and a number with a name."""
    row, current, planned = -1, None, 0
    forms: list[Form] = []
    for line, text in enumerate(lines, start=1):
        log.num_lines += 1
        for place, form in enumerate(forms):
            if (met := form.match(text)) is not None:
                current, *numbers = met.groups()
                row += 1
                log.add(row, "step", current)
                for name, number in zip(form.names, numbers, strict=True):
                    log.add(row, name, number)
                if place:
                    forms.insert(0, forms.pop(place))
                break
        else:
            if built := BUILD.fullmatch(text):
                row += 1
                log.add(row, "step", built[1])
                log.add(row, {"train": "loss", "val": "val_loss"}[built[2]], built[3])
                continue
            found = STEP.search(text)
            values = list(VALUE.finditer(text)) if found or current is not None else []
            if found:
                current = found[1]
                planned = max(planned, int(found[2] or 0))
                if not values:
                    cut_off = any(form.mask.startswith(_mask(text)) for form in forms)
                    if cut_off or NAMED.search(text, found.end()):
                        log.reject(line, text)
                    continue
                if len(forms) < MOST_FORMS and found.end() <= values[0].start():
                    forms.append(Form(text, found, values))
            elif not (values and ALONE.fullmatch(text)):  # a block of lines under one step
                if BEGINS.match(text) and NAMED.search(text):
                    log.reject(line, text)
                continue
            row += 1
            log.add(row, "step", current)
            for value in values:
                log.add(row, value[1].lower(), value[2])
    if row < 0:
        raise NoLog(f"{log.where}: no line with a step and a number with its name")
    if planned:
        log.planned_steps = planned
    return log.finish(row + 1)
