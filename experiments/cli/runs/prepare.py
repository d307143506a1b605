"""``lrbend prepare``: a public data set, or a folder of text files, as token shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.cli.flags import add_folder
from experiments.cli.parser import whole_number
from experiments.files import to_json

SUMMARY = "tokens of a public data set, or of your own text files, as .bin shards"
EXAMPLES = (
    "lrbend prepare fineweb --out data/fineweb",
    "lrbend prepare ./texts --out data/texts --validation-tokens 1e5",
    "lrbend prepare fineweb --out data/small --num-tokens 2e7 --tokens-per-shard 1e7 --validation-tokens 1e6",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dataset",
        metavar="DATASET",
        help="fineweb, which needs a network, or a folder of .txt files; both need the extra data",
    )
    add_folder(parser, "out", "the shards, in one that is new or empty", required=True)
    parser.add_argument("--num-tokens", type=whole_number, default=10**9, help="tokens to train on, at least 1")
    parser.add_argument("--tokens-per-shard", type=whole_number, default=10**8, help="tokens in a file, at least 1")
    parser.add_argument(
        "--validation-tokens", type=whole_number, default=10**7, help="tokens to validate on, at least 1"
    )


def run(options: argparse.Namespace) -> int:
    from gpt import prepare as preparation

    preparation.check_request(options.out, options.num_tokens, options.tokens_per_shard, options.validation_tokens)
    own = None if options.dataset == "fineweb" else preparation.folder_documents(Path(options.dataset))
    encode = preparation.gpt2_encoder()  # before anything is asked of the network
    shards = preparation.prepare(
        own or preparation.fineweb_documents(),
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
