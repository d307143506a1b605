"""What every page is made of: figures with the numbers behind them, a template, and files that are written last."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from experiments.files import BadInput, inert, write_whole

DPI = 110


@dataclass(frozen=True)
class Figure:
    """``name`` is a file stem, ``table`` the numbers behind the picture, one row per point."""

    name: str
    title: str
    caption: str
    png: bytes
    table: pd.DataFrame


def render(template: str, **values: object) -> str:
    """A page from one of the templates of this room."""
    environment = Environment(
        loader=PackageLoader("experiments.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(**values)


def write_page(
    text: str, tables: Mapping[str, pd.DataFrame], figures: Sequence[Figure], directory: Path, *, name: str, digits: int
) -> Path:
    """Write ``{name}.html`` into ``directory``, last and in one piece; returns it.

    Before it, into the folder ``name``: a CSV file for each table, and a PNG and a CSV file for each figure, numbers to
    so many significant ``digits``. Raises `BadInput` where they cannot be written.
    """
    folder = directory / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror})") from None
    for stem, table in [*tables.items(), *((figure.name, figure.table) for figure in figures)]:
        write_whole(folder / f"{stem}.csv", _csv(table, digits))
    for figure in figures:
        write_whole(folder / f"{figure.name}.png", figure.png)
    page = directory / f"{name}.html"
    write_whole(page, text.encode(errors="replace"))
    return page


def for_page(figure: Figure) -> dict[str, str]:
    """A figure as its template wants it, picture and numbers inside."""
    return {
        "title": figure.title,
        "caption": figure.caption,
        "name": figure.name,
        "image": data_uri("image/png", figure.png),
        "csv": table_uri(figure.table),
    }


def table_uri(table: pd.DataFrame) -> str:
    """A table as a link that holds it."""
    return data_uri("text/csv", _csv(table, 6))


def _csv(table: pd.DataFrame, digits: int) -> bytes:
    """Names of arms and columns come from tables of other people."""
    shown = table.rename(columns=inert).map(inert)
    return shown.to_csv(index=False, float_format=f"%.{digits}g").encode(errors="replace")


def data_uri(kind: str, content: bytes) -> str:
    """``content`` as a link that holds it; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
