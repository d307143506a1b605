"""The arms of an experiment on the weight norm, each a change to the config of a plain AdamW run.

    adamw                     the run itself
    at_equilibrium            the norm starts where theory says that it ends: no transient
    adamh                     the norm never moves, the angle is the learning rate
    adamc                     the decay follows the rate, so that the norm stays through the decay of the schedule
    converted                 another optimizer with the angles that theory gives the run, transient included
    steered                   angle and norm chosen apart, see below

Two schedules of angles (as recorded in a run; or a fixed peak that follows the learning-rate schedule) and two of norms
(as recorded; or fixed at the start) make a 2 x 2:

                        norm recorded                     norm fixed
    angle recorded      the recorded run again            same angles, other norms
    angle fixed         the norm acts, the angle not      neither acts

A difference between columns is what the norm does by itself, between rows what it does through the angle.
"""

from __future__ import annotations

from dataclasses import replace

from numpy.typing import ArrayLike

from gpt.config import Norm, Steering, TrainableOptimizer, TrainConfig
from gpt.replay import Recording
from theory.checks import InvalidParameter
from theory.conversion import convert
from theory.networks import WHITE_NOISE, Network
from theory.optimizers import AdamC, AdamH, AdamW, MuonH, pytorch_decay
from theory.predict import equilibrium


def at_equilibrium(config: TrainConfig, network: Network = WHITE_NOISE) -> TrainConfig:
    """Rescale each initial block matrix to the equilibrium RMS of its optimizer at the peak learning rate.

    ``network``: whose equilibrium it is.
    Raises `theory.checks.NoEquilibrium` without weight decay, `InvalidParameter` on the sphere, where every norm is
    one of equilibrium.
    """
    if isinstance(config.optimizer, AdamH | MuonH):
        raise InvalidParameter("optimizer", config.optimizer.name, "one whose norm has an equilibrium, such as adamw")
    rms = equilibrium(config.optimizer, initial_rms=config.model.init_rms, network=network).weight_rms
    return replace(config, block_rms=rms)


def adamh(config: TrainConfig, learning_rate: float | None = None) -> TrainConfig:
    """AdamH at this rate; by default the angle of the AdamW run at its equilibrium."""
    spec = _adamw(config)
    if learning_rate is None:
        learning_rate = equilibrium(spec, initial_rms=config.model.init_rms).angular_update
    return replace(config, optimizer=AdamH(learning_rate=learning_rate, **_moments(spec)))


def adamc(config: TrainConfig) -> TrainConfig:
    """AdamC with the rate and, at the peak, the decay of the AdamW run."""
    spec = _adamw(config)
    optimizer = AdamC(learning_rate=spec.learning_rate, weight_decay=pytorch_decay(spec), **_moments(spec))
    return replace(config, optimizer=optimizer)


def converted(
    config: TrainConfig,
    target: TrainableOptimizer,
    angles: ArrayLike | None = None,
    *,
    network: Network = WHITE_NOISE,
) -> TrainConfig:
    """The run under ``target``, whose block matrices follow the schedule of `theory.conversion.convert`.

    ``angles`` (num_steps,) in radians are those of the run, by default as predicted in that ``network``. ``target``
    keeps its decay. Raises `InvalidParameter` where the matrices do not all start at one ``block_rms``.
    """
    if config.block_rms is None:
        raise InvalidParameter(
            "block_rms", None, "a number: matrices that start at several norms have several schedules"
        )
    start = config.block_rms
    found = convert(
        config.optimizer,
        config.schedule,
        target,
        initial_rms=start,
        angles=angles,
        finite_beta2=True,
        network=network,
    )
    assert isinstance(found.optimizer, TrainableOptimizer)  # by the target's
    return replace(config, optimizer=found.optimizer, matrix_schedule=found.schedule)


def steered(
    config: TrainConfig,
    *,
    norm: Norm,
    angle: float | None = None,
    recording: Recording | None = None,
    rescale_gradients: bool = True,
) -> TrainConfig:
    """One corner of the 2 x 2; to train it, give the recording to `gpt.train.train` too.

    Parameters
    ----------
    norm : "fixed" or "recorded".
    angle : peak rotation per step in radians; None takes the recorded angles.
    recording : of the AdamW run; may be left out with ``norm="fixed"`` and an ``angle``.
    rescale_gradients : see `gpt.replay`.

    Raises
    ------
    InvalidParameter : an angle outside (0, pi), or no recording where one is needed.
    """
    digest = None if recording is None else recording.digest
    steering = Steering(norm=norm, angle=angle, recording=digest, rescale_gradients=rescale_gradients)
    return replace(config, steering=steering)


def _adamw(config: TrainConfig) -> AdamW:
    if not isinstance(config.optimizer, AdamW):
        raise InvalidParameter("optimizer", config.optimizer.name, "adamw, from which the other arms are made")
    return config.optimizer


def _moments(spec: AdamW) -> dict[str, float]:
    return {"beta1": spec.beta1, "beta2": spec.beta2, "eps": spec.eps}
