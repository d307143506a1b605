"""Text for a terminal: tables in columns, short numbers, short names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHORT_NAMES = {
    "num_params": "N",
    "num_tokens": "D",
    "batch_size": "B",
    "weight_decay": "decay",
    "independent_weight_decay": "lr x decay",
}


def aligned(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    align: str = "<",
    indent: str = "",
    gap: str = "  ",
    least: Sequence[int] = (),
) -> list[str]:
    """A table as lines, the header first, without blanks at their ends.

    align : "<" or ">" for all columns, or such a sign for each. indent : before a line. gap : between columns.
    least : the smallest width of each column, by default that of its longest cell.
    """
    table = [tuple(header), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if least:
        widths = [max(pair) for pair in zip(widths, least, strict=True)]
    signs = align * len(widths) if len(align) == 1 else align
    places = list(zip(signs, widths, strict=True))
    return [
        (indent + gap.join(f"{cell:{sign}{width}}" for cell, (sign, width) in zip(row, places, strict=True))).rstrip()
        for row in table
    ]


def short_number(value: float | None, digits: int = 3) -> str:
    """A number to so many significant digits, a dash for none."""
    return "-" if value is None else f"{value:.{digits}g}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, which takes an s from two on.

    >>> counted(1, "cell"), counted(12, "run")
    ('1 cell', '12 runs')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first names, and how many more there are.

    >>> listed(["a", "b"]), listed("abcdefgh")
    ('a, b', 'a, b, c, d, e, f and 2 more')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def as_cell(value: object) -> str:
    """Anything as the cell of a table: fractions to five digits, yes or no, a dash for nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return short_number(value, 5) if value is None or isinstance(value, float) else str(value)


def short_name(name: str) -> str:
    """A column as tables call it: N, D, B."""
    return SHORT_NAMES.get(name, name)


def flag(name: str) -> str:
    """``num_steps`` as it is typed: ``--num-steps``."""
    return "--" + name.replace("_", "-")
