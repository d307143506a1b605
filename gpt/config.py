"""What is trained and how: every number that a run depends on, checked when it is written down."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from theory.checks import InvalidParameter, require_integer_field, require_kind, require_number
from theory.optimizers import LATER, AdamC, AdamH, AdamW, MuonH
from theory.schedules import Schedule

Architecture = Literal["gpt2", "scale-invariant"]
Dtype = Literal["float32", "float64", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]
TrainableOptimizer = AdamW | AdamH | AdamC | MuonH  # those that gpt.optim builds
TRAINABLE_OPTIMIZERS: dict[str, type[TrainableOptimizer]] = {cls.name: cls for cls in get_args(TrainableOptimizer)}
NAMED_SOURCES = ("pysource", "zipf")
Norm = Literal["fixed", "recorded"]
LARGEST_RATE = 1e30  # of AdamH and MuonH: torch refuses to multiply by what float32 has not, above 3e38


@dataclass(frozen=True, kw_only=True)
class Steering:
    """Who decides what each step does to a block matrix: the optimizer gives the direction, this the rest.

    A schedule of angles and a schedule of norms, chosen apart from each other; `gpt.replay` has the geometry.

    Parameters
    ----------
    norm : "fixed" at its initial value, or "recorded", as it was in another run.
    angle : peak rotation per step in radians, between 0 and pi, which follows the learning-rate schedule; None takes
        the angles of the recorded run.
    recording : digest of the recorded run (`gpt.replay.Recording.digest`); None if nothing of another run is used.
    rescale_gradients : multiply the gradient of a matrix by its norm over the recorded one, so that the optimizer sees
        what it saw in the recorded run.

    Raises
    ------
    InvalidParameter : a value outside its range, or no recording where one is needed.
    """

    norm: Norm
    angle: float | None = None
    recording: str | None = None
    rescale_gradients: bool = True

    def __post_init__(self) -> None:
        _require_choice("norm", self.norm, get_args(Norm))
        if self.angle is not None:
            require_number("angle", self.angle, above=0, below=math.pi)
        if not isinstance(self.rescale_gradients, bool):
            raise InvalidParameter("rescale_gradients", self.rescale_gradients, "true or false")
        if self.recording is None and (self.angle is None or self.norm == "recorded"):
            raise InvalidParameter("recording", None, "the digest of the run whose angles or norms are asked for")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Shape and initial scale of a GPT; `gpt.model.GPT` says what the two architectures are.

    Parameters
    ----------
    architecture : "gpt2" or "scale-invariant".
    vocab_size : number of token values; 256 for bytes.
    context_length : tokens per sequence.
    num_layers, d_model, num_heads : ``num_heads`` must divide ``d_model``.
    init_rms : standard deviation of the initial block matrices, above 0 (a zero matrix has no direction).
    residual_init_rms : the same for the two matrices that write to the residual stream (output, down). None takes
        ``init_rms / sqrt(2 num_layers)`` for gpt2 (Radford et al. 2019) and ``init_rms`` for scale-invariant,
        where the scale does not act on the function.
    embedding_init_rms : the same for token and position embeddings, at least 0.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    architecture: Architecture
    vocab_size: int = 256
    context_length: int = 64
    num_layers: int = 2
    d_model: int = 32
    num_heads: int = 1
    init_rms: float = 0.02
    residual_init_rms: float | None = None
    embedding_init_rms: float = 0.02

    def __post_init__(self) -> None:
        _require_choice("architecture", self.architecture, get_args(Architecture))
        for name in ("vocab_size", "context_length", "num_layers", "d_model", "num_heads"):
            require_integer_field(self, name, at_least=1)
        if self.d_model % self.num_heads:
            raise InvalidParameter("num_heads", self.num_heads, f"a divisor of d_model = {self.d_model}")
        require_number("init_rms", self.init_rms, above=0)
        require_number("embedding_init_rms", self.embedding_init_rms, at_least=0)
        if self.residual_init_rms is None:
            fan = 2 * self.num_layers if self.architecture == "gpt2" else 1
            object.__setattr__(self, "residual_init_rms", self.init_rms / math.sqrt(fan))
        require_number("residual_init_rms", self.residual_init_rms, above=0)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Parameters
    ----------
    model : what is trained.
    optimizer : what trains the block matrices of attention and MLP, at its peak learning rate; that of AdamH and MuonH
        is at most `LARGEST_RATE`.
    non_matrix_learning_rate : peak learning rate of everything else (embeddings, which are also the head; gains;
        biases), trained by Adam without decay, with the betas and eps of ``optimizer``. Above 0.
    schedule : its multipliers apply to both learning rates; its length is the length of the run.
    batch_size : sequences per step, whatever they are divided among.
    seed : of the initial weights and of the order of the data.
    dtype : "float32" and "float64" hold and compute everything in that type; "bfloat16" keeps float32 weights
        and optimizer state and computes under autocast.
    device : "auto" takes a GPU where there is one.
    source : "pysource", "zipf" or the path of a text of your own, which has a dot or a slash in it; see `gpt.data`.
    gradient_clip : largest norm of the whole gradient, above 0; None for no clipping.
    record_every : steps between the records of the probe.
    eval_batches : validation batches behind the final loss.
    compile : run the model through ``torch.compile``.
    block_rms : rescale each block matrix to exactly this RMS once it is drawn; None leaves it as drawn.
    accumulation_steps : parts that a batch is computed in, one after the other, to save memory; must divide
        ``batch_size``.
    initial_factor : multiplies every initial weight; 1 + 1e-6 makes a twin that shows what rounding can do.
    steering : lets a schedule of angles and norms decide how far each step of a block matrix goes; None leaves that to
        the optimizer.
    matrix_schedule : of ``optimizer`` on the block matrices, as long as ``schedule``, which the rest follows; None for
        the same one. Not beside ``steering``.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    model: ModelConfig
    optimizer: TrainableOptimizer
    non_matrix_learning_rate: float
    schedule: Schedule
    batch_size: int = 16
    seed: int = 0
    dtype: Dtype = "float32"
    device: Device = "auto"
    source: str = "pysource"
    gradient_clip: float | None = None
    record_every: int = 10
    eval_batches: int = 50
    compile: bool = False
    block_rms: float | None = field(default=None, metadata=LATER)
    accumulation_steps: int = field(default=1, metadata=LATER)
    initial_factor: float = field(default=1.0, metadata=LATER)
    steering: Steering | None = field(default=None, metadata=LATER)
    matrix_schedule: Schedule | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        for name, kind in (("model", ModelConfig), ("optimizer", TrainableOptimizer), ("schedule", Schedule)):
            require_kind(name, getattr(self, name), kind)
        require_number("non_matrix_learning_rate", self.non_matrix_learning_rate, above=0)
        if isinstance(self.optimizer, AdamH | MuonH):
            require_number("learning_rate", self.optimizer.learning_rate, above=0, at_most=LARGEST_RATE)
        require_integer_field(self, "seed", at_least=0, at_most=2**32 - 1)
        for name in ("batch_size", "record_every", "eval_batches", "accumulation_steps"):
            require_integer_field(self, name, at_least=1)
        _require_choice("dtype", self.dtype, get_args(Dtype))
        _require_choice("device", self.device, get_args(Device))
        if self.source not in NAMED_SOURCES and not _is_path(self.source):
            raise InvalidParameter("source", self.source, "pysource, zipf or a path, such as ./text.txt")
        if self.batch_size % self.accumulation_steps:
            raise InvalidParameter(
                "accumulation_steps", self.accumulation_steps, f"a divisor of batch_size = {self.batch_size}"
            )
        if self.gradient_clip is not None:
            require_number("gradient_clip", self.gradient_clip, above=0)
        if not isinstance(self.compile, bool):
            raise InvalidParameter("compile", self.compile, "true or false")
        if self.block_rms is not None:
            require_number("block_rms", self.block_rms, above=0)
        require_number("initial_factor", self.initial_factor, above=0)
        if not isinstance(self.steering, Steering | None):
            raise InvalidParameter("steering", self.steering, "an object of type Steering, or null")
        if self.matrix_schedule is not None:
            require_kind("matrix_schedule", self.matrix_schedule, Schedule)
            if self.steering is not None:
                raise InvalidParameter("matrix_schedule", self.matrix_schedule.name, "left out beside steering")
            if self.matrix_schedule.num_steps != self.schedule.num_steps:
                length = f"as long as the schedule, {self.schedule.num_steps} steps"
                raise InvalidParameter("matrix_schedule", self.matrix_schedule.num_steps, length)

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.model.context_length

    @property
    def checkpoint_digest(self) -> str:
        """Sixteen hex digits by which a checkpoint knows the config it belongs to.

        Not the ten in the name of a run directory: those are of the config as JSON (`experiments.runs.configs`).
        """
        used = [f for f in fields(self) if not f.metadata.get("later") or getattr(self, f.name) != f.default]
        return hashlib.sha256(repr([(f.name, _plain(getattr(self, f.name))) for f in used]).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """The same value with NumPy's numbers as Python's, whose text differs."""
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _plain(getattr(value, f.name)) for f in fields(value)})
    return value


def cpu_model(width: int, architecture: Architecture) -> ModelConfig:
    """Small enough for one core: 2 layers, context 64, bytes, heads of 32 (one head below a width of 64)."""
    return ModelConfig(
        architecture=architecture,
        d_model=width,
        num_heads=max(1, width // 32 if width >= 64 else 1),
        init_rms=default_init_rms(architecture, width),
    )


def gpu_model(num_layers: int, d_model: int, architecture: Architecture) -> ModelConfig:
    """A rung of the GPU ladder: context 1024, GPT-2's vocabulary padded to 50,304, heads of 64."""
    return ModelConfig(
        architecture=architecture,
        vocab_size=50304,
        context_length=1024,
        num_layers=num_layers,
        d_model=d_model,
        num_heads=d_model // 64,
        init_rms=default_init_rms(architecture, d_model),
    )


def default_init_rms(architecture: Architecture, d_model: int) -> float:
    """0.02 for gpt2 (Radford et al. 2019). For scale-invariant ``1/sqrt(d_model)``, where outputs of unit inputs have
    unit size; the function does not depend on it, the transient of the norm does."""
    return 0.02 if architecture == "gpt2" else d_model**-0.5


CPU_WIDTHS = {f"cpu-{width}": width for width in (16, 32, 48, 64, 96, 128)}
GPU_SHAPES = {"22M": (7, 512), "64M": (9, 768), "85M": (12, 768), "302M": (24, 1024), "708M": (36, 1280)}
PRESETS = (*CPU_WIDTHS, *GPU_SHAPES)


def preset(name: str, architecture: Architecture) -> ModelConfig:
    """A model by the name of its size, one of ``PRESETS``; the GPU names count non-embedding parameters.

    Raises `InvalidParameter` for any other name.
    """
    _require_choice("preset", name, PRESETS)
    if name in CPU_WIDTHS:
        return cpu_model(CPU_WIDTHS[name], architecture)
    return gpu_model(*GPU_SHAPES[name], architecture)


def _is_path(source: object) -> bool:
    """Whether it is text that tells a path from a name, and that a file system can take."""
    if not isinstance(source, str) or not set("./") & set(source) or "\0" in source:
        return False
    try:
        return bool(os.fsencode(source))
    except UnicodeEncodeError:
        return False


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidParameter(name, value, "one of " + ", ".join(choices))
