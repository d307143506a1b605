"""The cache is believed as far as its checksums go, and belongs to one user."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt import cache
from gpt.cache import cache_folder, cached_folder, read_note, write_note


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path / "cache"))
    cache._say.cache_clear()
    return tmp_path / "cache"


def write(work: Path) -> None:
    (work / "tokens.bin").write_bytes(b"genuine")
    (work / "fingerprint").write_text("of genuine")


def replace_by_a_file(entry: Path) -> None:
    for file in entry.iterdir():
        file.unlink()
    entry.rmdir()
    entry.write_text("not a folder")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one letter": lambda entry: (entry / "tokens.bin").write_bytes(b"genuinE"),
    "truncated": lambda entry: (entry / "tokens.bin").write_bytes(b"genu"),
    "empty": lambda entry: (entry / "tokens.bin").write_bytes(b""),
    "a pipe in place of a file": lambda entry: ((entry / "tokens.bin").unlink(), os.mkfifo(entry / "tokens.bin")),
    "a pipe beside the files": lambda entry: os.mkfifo(entry / "more"),
    "a file missing": lambda entry: (entry / "fingerprint").unlink(),
    "a file more": lambda entry: (entry / "validation.bin").touch(),
    "another fingerprint": lambda entry: (entry / "fingerprint").write_text("of mine"),
    "of before": lambda entry: (entry / "checksums.json").unlink(),
    "checksums of nothing": lambda entry: (entry / "checksums.json").write_text("{}"),
    "no folder": replace_by_a_file,
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_an_entry_that_is_not_as_it_was_made_is_made_again(
    damage: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = cached_folder("text", write)
    assert capsys.readouterr().err == ""
    DAMAGES[damage](entry)
    assert (cached_folder("text", write) / "tokens.bin").read_bytes() == b"genuine"
    assert "made again" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["text"]


def test_what_is_whole_is_not_made_again() -> None:
    cached_folder("text", write)
    cached_folder("text", lambda work: pytest.fail("made again"))


def test_one_process_makes_it_and_the_others_say_that_they_wait(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = os.fork()
    if child == 0:

        def slowly(work: Path) -> None:
            time.sleep(1)
            write(work)

        cached_folder("text", slowly)
        os._exit(0)
    while not list(folder.glob("text.*.partial")):
        time.sleep(0.01)
    cached_folder("text", lambda work: pytest.fail("made twice"))
    assert os.waitpid(child, 0)[1] == 0
    assert "another process makes" in capsys.readouterr().err


def test_a_folder_of_others_is_not_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    own = cache_folder()
    assert own == folder / f"user-{os.getuid()}"
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    assert folder not in cache_folder().parents
    assert "cannot hold a cache" in capsys.readouterr().err


def test_without_a_place_there_is_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for a user who is in no list of users, without HOME."""
    monkeypatch.delenv("LRBEND_CACHE")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder() == tmp_path / f"lrbend-cache-{os.getuid()}"
    assert capsys.readouterr().err.count("\n") == 1


def test_notes_are_not_believed_when_edited(folder: Path) -> None:
    write_note("key", {"largest": 7})
    assert read_note("key") == {"largest": 7}
    assert read_note("other") is None
    (file,) = (folder / "files").iterdir()
    file.write_text(file.read_text().replace("7", "8"))
    assert read_note("key") is None
    file.write_text("[" * 100_000)
    assert read_note("key") is None


def test_threads_of_one_process_get_the_same_folder() -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(cached_folder("text", write))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError("64 requested and 0 written")])
def test_a_full_disk_is_that_of_the_cache(error: OSError, folder: Path) -> None:
    def fail(work: Path) -> None:
        raise error

    with pytest.raises(OSError, match=r"requested|No space") as caught:
        cached_folder("entry", fail)
    assert caught.value.filename == str(folder / "entry")
    assert not list(folder.glob("entry*"))


def test_a_note_that_is_a_pipe_is_not_waited_for() -> None:
    write_note("key", {"a": 1})
    note = cache._note("key")
    note.unlink()
    os.mkfifo(note)
    assert read_note("key") is None
    write_note("key", {"a": 2})
    assert read_note("key") == {"a": 2}
