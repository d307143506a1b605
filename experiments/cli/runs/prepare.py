"""``lrbend prepare``: a public data set as token shards."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from experiments.files import to_json


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", choices=("fineweb",), help="needs a network and the extra data")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder for the shards")
    parser.add_argument("--num-tokens", type=_tokens, default=10**9, help="for training")
    parser.add_argument("--tokens-per-shard", type=_tokens, default=10**8, help=" ")
    parser.add_argument("--validation-tokens", type=_tokens, default=10**7, help=" ")


def prepare(options: argparse.Namespace) -> int:
    from gpt import prepare as preparation

    preparation.check_request(options.out, options.num_tokens, options.tokens_per_shard, options.validation_tokens)
    encode = preparation.gpt2_encoder()  # before anything is asked of the network
    shards = preparation.prepare(
        preparation.fineweb_documents(),
        encode,
        options.out,
        num_tokens=options.num_tokens,
        tokens_per_shard=options.tokens_per_shard,
        validation_tokens=options.validation_tokens,
    )
    if options.json:
        print(to_json({"source": str(options.out), "shards": [str(path) for path in shards]}))
    else:
        print(f"{len(shards)} shards; train on them with --source {options.out}/")
    return 0


def _tokens(text: str) -> int:
    try:
        count = float(text)
    except ValueError:
        count = math.nan
    if not (1 <= count < 2**53 and count.is_integer()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(count)
