"""What every page is made of: figures with the numbers behind them, a template, and files that are written last."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from experiments.files import BadInput, inert, write_whole

WIDTH = 5.2  # inches of a figure: two stand side by side on a desk, one fills a phone
DPI = 120
PACKED_FROM = 20_000  # bytes of CSV from which a page holds it compressed


@dataclass(frozen=True)
class Figure:
    """``name`` is a file stem, ``table`` the numbers behind the picture, one row per point; a ``wide`` one has a row of
    the page for itself."""

    name: str
    title: str
    caption: str
    png: bytes
    table: pd.DataFrame
    wide: bool = False


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


def for_page(figure: Figure) -> dict[str, object]:
    """A figure as its template wants it, picture and numbers inside."""
    return {
        "title": figure.title,
        "caption": figure.caption,
        "image": data_uri("image/png", figure.png),
        "data": table_link(figure.name, figure.table),
        "wide": figure.wide,
    }


def table_link(name: str, table: pd.DataFrame) -> dict[str, str]:
    """A table inside a link: its ``text``, the ``file`` it is saved as, and the ``href`` that holds it.

    A long one is compressed; beside the page every one lies as plain CSV (`write_page`).
    """
    content = _csv(table, 6)
    if len(content) < PACKED_FROM:
        return {"text": "CSV", "file": f"{name}.csv", "href": data_uri("text/csv", content)}
    packed = gzip.compress(content, mtime=0)
    return {"text": "CSV, gzip", "file": f"{name}.csv.gz", "href": data_uri("application/gzip", packed)}


def _csv(table: pd.DataFrame, digits: int) -> bytes:
    """Names of arms and columns come from tables of other people."""
    shown = table.rename(columns=inert).map(inert)
    return shown.to_csv(index=False, float_format=f"%.{digits}g").encode(errors="replace")


def data_uri(kind: str, content: bytes) -> str:
    """``content`` as a link that holds it; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
