"""``lrbend train``: one real run into a run directory."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.flags import TRAINABLE_OPTIMIZERS, add_checkpoint_every, add_device, add_folder, add_seed
from experiments.cli.parser import Parser, number, size, whole_number
from experiments.cli.settings.rate_file import read_rates
from experiments.cli.settings.setting_flags import add_setting, optimizer_from, schedule_from
from experiments.cli.training.preset_flags import with_preset
from experiments.files import BadInput, read_json, to_json
from experiments.text import flag

if TYPE_CHECKING:
    from gpt.config import TrainConfig

SMALL = 128  # of d_model, up to which one thread is enough
MOST_TOKENS = 2**16  # values of a token in 16 bits
SHOWN = ("outcome", "final_loss", "final_loss_se", "loss_floor", "tokens_per_second", "mfu", "num_params")

SUMMARY = "one real run into a run directory"
EXAMPLES = (
    "lrbend train --learning-rate 1e-2 --weight-decay 0.3 --num-steps 1600",
    "lrbend train --optimizer adamh --learning-rate 1e-2 --num-steps 400 --schedule cosine --source zipf",
    "lrbend train --learning-rate 1e-2 --num-steps 200 --record-every 1 --dtype float64 --out runs/recorded",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    _add_config_flags(parser)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a config.json in place of the flags above (default: the flags)"
    )
    add_folder(parser, "out", "the run directory", default=Path("runs/train"))
    add_checkpoint_every(parser)
    parser.add_argument(
        "--peak-flops", type=size, help="of the device per second, for the MFU (default: known for some GPUs)"
    )


def _add_config_flags(parser: argparse.ArgumentParser) -> None:
    """All that the config of a run holds, and nothing else."""
    add_setting(parser, TRAINABLE_OPTIMIZERS, required=False)
    parser.add_argument(
        "--matrix-schedule",
        type=Path,
        metavar="FILE",
        help="of the block matrices: a table as --schedule file: takes, such as convert writes; the peak is its own"
        " unless --learning-rate is given (default: that of --schedule)",
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--preset", default="cpu-32", help="its size, cpu-16 to cpu-128 or 22M to 708M; another name lists all"
    )
    model.add_argument(
        "--architecture",
        default="scale-invariant",
        choices=("scale-invariant", "gpt2"),
        help="whether the norm of a block matrix leaves the function alone, or the classic GPT-2",
    )
    model.add_argument(
        "--vocab-size", type=whole_number, help="token values (default: the preset's, 256 if that reads bytes)"
    )
    model.add_argument(
        "--start", default="drawn", choices=("drawn", "equilibrium"), help="norm of the initial block matrices"
    )
    training = parser.add_argument_group("data and training")
    training.add_argument(
        "--source",
        metavar="TEXT",
        help="pysource, zipf, or a path as ./text (default: pysource; needed for 22M to 708M)",
    )
    training.add_argument(
        "--batch-size",
        type=whole_number,
        help="sequences per step, of all processes together (default: 16; 512 for 22M to 708M on a GPU)",
    )
    training.add_argument(
        "--accumulation-steps",
        type=whole_number,
        help="parts in which a batch is computed (default: 1; 16 to 64 for 22M to 708M on a GPU)",
    )
    training.add_argument(
        "--gradient-clip", type=number, help="largest norm of the gradient (default: gradients are left as they are)"
    )
    training.add_argument(
        "--non-matrix-learning-rate", type=number, default=1e-2, help="Adam's on embeddings, gains, biases and head"
    )
    training.add_argument(
        "--record-every",
        type=whole_number,
        default=10,
        help="steps between records of norm and angle; 1 allows a replay",
    )
    training.add_argument(
        "--dtype",
        choices=("float32", "float64", "bfloat16"),
        help="of the arithmetic; bfloat16 is autocast over float32 weights (default: float32; bfloat16 for 22M to 708M"
        " on a GPU)",
    )
    training.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="run the model through torch.compile (default: off; on for 22M to 708M on a GPU)",
    )
    add_device(training)
    add_seed(training, "weights and batches")


def run(options: argparse.Namespace) -> int:
    from experiments.cli.training.train_words import Progress, result_in_words
    from experiments.runs.produce import Job, train_run, training_label
    from experiments.runs.run_directory import is_finished
    from experiments.runs.run_files import load_run
    from gpt.distributed import is_first_process
    from theory.checks import require_integer, require_number

    config = _config(options)
    require_integer("checkpoint_every", options.checkpoint_every, at_least=1)
    if options.peak_flops is not None:
        require_number("peak_flops", options.peak_flops, above=0)
    job = Job(
        options.out,
        training_label(config),
        config,
        checkpoint_every=options.checkpoint_every,
        device_peak_flops=options.peak_flops,
    )
    if is_finished(job.path):
        print(f"note: {job.path} is finished already: nothing is trained, this is what it found", file=sys.stderr)
    told: list[int] = []

    def stop(signum: int, frame: object) -> None:
        if told:
            raise KeyboardInterrupt  # the second time at once
        told.append(signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        bars = not options.json or sys.stderr.isatty()  # a program gets lines that it can read
        with _few_threads(config), Progress(config, bars=bars) as shown:
            path = train_run(job, shown.step, lambda: bool(told), on_start=shown.start, on_evaluation=shown.evaluation)
    finally:
        signal.signal(signal.SIGTERM, before)
    if not is_first_process():
        return 0
    finished = load_run(path)
    result = {"run_dir": str(finished.path), **{key: finished.summary.get(key) for key in SHOWN}}
    if options.json:
        print(to_json(result))
        return 0
    print("\n".join(result_in_words(result, finished.summary)))
    return 0


@contextlib.contextmanager
def _few_threads(config: TrainConfig) -> Iterator[None]:
    """One thread for a small model on a processor, as in a sweep: more gain nothing, and stand still where others work.

    ``OMP_NUM_THREADS`` wins. Measured at width 16 beside other work on two cores: no step in 25 s with two threads, 351
    in 14 s with one.
    """
    import torch

    before = torch.get_num_threads()
    on_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if not on_gpu and config.model.d_model <= SMALL and not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _config(options: argparse.Namespace) -> TrainConfig:
    """The config that the flags describe, or that of ``--config``, beside which none of them may be given."""
    from experiments.runs.configs import read_config
    from gpt.arms import at_equilibrium
    from gpt.config import TrainableOptimizer, TrainConfig, preset
    from theory.checks import require_integer

    if options.config is not None:
        untouched = Parser()
        _add_config_flags(untouched)
        for name, default in vars(untouched.parse_args([])).items():
            if getattr(options, name) != default:
                raise BadInput(f"{flag(name)}: cannot be given with --config, which holds all settings")
        config = read_config(read_json(options.config), where=str(options.config))
        if not isinstance(config, TrainConfig):
            raise BadInput(f"{options.config}: not the config of a training run")
        return config
    matrices = None if options.matrix_schedule is None else read_rates(options.matrix_schedule)
    if matrices is not None and options.learning_rate is None:
        options.learning_rate = matrices.peak
    schedule = schedule_from(options)
    optimizer = optimizer_from(options, options.learning_rate, options.weight_decay)
    if not isinstance(
        optimizer, TrainableOptimizer
    ):  # the choices of --optimizer are; a convention of decay may not be
        raise BadInput(f"--decay {options.decay}: makes {optimizer.name} of it, which lrbend train has not")
    model = preset(options.preset, options.architecture)
    implied = with_preset(options)
    if (vocab_size := implied.pop("vocab_size")) is not None:
        require_integer("vocab_size", vocab_size, at_least=1, at_most=MOST_TOKENS)
        model = dataclasses.replace(model, vocab_size=vocab_size)
    config = TrainConfig(
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        seed=options.seed,
        device=options.device,
        record_every=options.record_every,
        non_matrix_learning_rate=options.non_matrix_learning_rate,
        gradient_clip=options.gradient_clip,
        matrix_schedule=None if matrices is None else matrices.schedule(schedule.num_steps),
        **implied,
    )
    return at_equilibrium(config) if options.start == "equilibrium" else config
