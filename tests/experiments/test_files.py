"""Files: what is read, how they are replaced, the text of CSV files."""

from __future__ import annotations

import csv
import io
import os
import resource
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.files import BadInput, csv_text, inert, read_bytes, read_json, write_whole

cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8).filter(lambda x: inert(x) == x)


@given(st.lists(st.fixed_dictionaries({"a": cells, "b,c": cells}), min_size=1, max_size=4))
def test_rows_come_back(rows: list[dict[str, str]]) -> None:
    assert list(csv.DictReader(io.StringIO(csv_text(rows), newline=""), strict=True)) == rows


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+1+1", "-2+3", "\t=1", "\r=1", '=HYPERLINK("x")', "-"])
def test_a_formula_is_text(cell: str) -> None:
    (header, row) = csv.reader(io.StringIO(csv_text([{cell: cell}]), newline=""))
    assert header == row == ["'" + cell.replace("\r", "\n")]


@pytest.mark.parametrize("cell", ["-1e-3", "+2", "-inf", "adamw-1", -1, "", None])
def test_what_is_no_formula_stays(cell: object) -> None:
    assert inert(cell) == cell


def test_columns_come_in_the_order_that_is_asked_for() -> None:
    assert csv_text([{"b": 1.5, "a": None}]) == "b,a\n1.5,\n"
    assert csv_text([{"b": 1.5, "a": None}], ("a", "b")) == "a,b\n,1.5\n"
    assert csv_text([], ("a", "b")) == "a,b\n"
    assert csv_text([]) == ""


def test_a_key_without_a_column_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="'b'"):
        csv_text([{"a": 1}, {"a": 1, "b": 2}])


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo, listening, loop = tmp_path / "fifo", tmp_path / "socket", tmp_path / "loop"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(listening))
        for path in (fifo, listening, loop, tmp_path, Path("/dev/zero"), Path("nul\0")):
            with pytest.raises(BadInput, match=r"not a file|cannot be read"):
                read_bytes(path)
    (tmp_path / "large").write_bytes(b"123")
    with pytest.raises(BadInput, match="more than"):
        read_bytes(tmp_path / "large", largest=2)


def test_a_key_that_is_there_twice_is_no_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": {"seed": 1, "seed": 2}}')
    with pytest.raises(BadInput, match="'seed' is there twice"):
        read_json(tmp_path / "config.json")


def test_half_a_letter_is_no_reason_not_to_write_a_table() -> None:
    assert csv_text([{"arm": "\ud800x", "\udcff": 1}]).encode() == b"arm,?\n?x,1\n"


def test_devices_and_pipes_are_written_to_and_stay(tmp_path: Path) -> None:
    null = tmp_path / "null"  # a device in a folder where it could be replaced
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        full = tmp_path / "full"
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        null, full = Path("/dev/null"), Path("/dev/full")
    write_whole(null, b"a")
    with pytest.raises(BadInput, match="No space left"):
        write_whole(full, b"a")
    assert stat.S_ISCHR(null.stat().st_mode)
    assert stat.S_ISCHR(full.stat().st_mode)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(BadInput, match="cannot be written"):  # nobody reads
        write_whole(fifo, b"a")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(fifo, b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_links_and_permissions_stay_and_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim, target, link = tmp_path / "victim", tmp_path / "folder" / "table.csv", tmp_path / "table.csv"
    victim.write_text("mine")
    target.parent.mkdir()
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    (tmp_path / ".table.csv.partial").symlink_to(victim)
    (target.parent / ".table.csv.partial").symlink_to(victim)
    write_whole(link, b"new")
    assert victim.read_text() == "mine"
    assert (link.is_symlink(), target.read_text(), stat.S_IMODE(target.stat().st_mode)) == (True, "new", 0o640)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(BadInput, match="File too large"):
            write_whole(path, b"x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_right_after_the_new_file_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.csv").write_text("old")
    monkeypatch.setattr("experiments.files.fcntl.flock", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.csv", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


def test_two_writers_at_once_leave_a_whole_file_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_whole(path, b"0" * 5000)
    leftover = tmp_path / f".table.csv.{'0' * 16}.partial"
    leftover.write_bytes(b"0")
    writers = [threading.Thread(target=lambda: [write_whole(path, b"1" * 5000) for _ in range(20)]) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in (b"0" * 5000, b"1" * 5000)
    assert list(tmp_path.iterdir()) == [path]
