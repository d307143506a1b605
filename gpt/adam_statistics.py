r"""What Adam's averages look like: size of the update, agreement with the gradient, distribution of :math:`m/\sqrt v`.

Read between ``backward`` and ``optimizer.step()``, when the averages are those of the steps so far and the gradient is
new to them. For white noise and beta2 near 1 theory then says: update RMS :math:`\sqrt{(1-\beta_1)/(1+\beta_1)}`, sign
agreement 1/2, and :math:`|\hat m|/\sqrt{\hat v}` half-normal with that RMS. A persistent gradient raises all three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpt.directions import adam_direction
from theory.checks import InvalidParameter, require_number

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class AdamStatistics:
    r"""One row per parameter.

    Attributes
    ----------
    names : of the parameters.
    update_rms : (num_parameters,), root mean square of the direction u of the last step.
    sign_agreement : (num_parameters,), share of entries whose new gradient has the sign of m; entries where either is
        zero do not count, NaN if none is left or there is no gradient.
    probabilities : (num_quantiles,).
    quantiles : (num_parameters, num_quantiles), of :math:`|\hat m|/\sqrt{\hat v}`; an entry is the smallest value that
        at least this share of the entries does not exceed. 0/0 counts as 0.
    """

    names: tuple[str, ...]
    update_rms: Array
    sign_agreement: Array
    probabilities: Array
    quantiles: Array


@torch.no_grad()
def adam_statistics(
    parameters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    probabilities: Sequence[float] = (0.1, 0.5, 0.9, 0.99),
) -> AdamStatistics:
    """Statistics of Adam, AdamW, AdamC or AdamH.

    Parameters
    ----------
    parameters : by name.
    probabilities : of the quantiles, above 0 and at most 1.

    Raises
    ------
    InvalidParameter : a probability out of range, or a parameter that the optimizer has not stepped yet.
    """
    for probability in probabilities:
        require_number("probabilities", probability, above=0, at_most=1)
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    update_rms, agreements, quantiles = [], [], []
    for name, parameter in parameters.items():
        state = optimizer.state.get(parameter, {})
        if "exp_avg_sq" not in state or not state["step"] > 0:
            raise InvalidParameter("parameters", name, "parameters that this optimizer has stepped, by Adam")
        group = group_of[id(parameter)]
        ratio = adam_direction(state, {**group, "eps": 0.0}).abs_().nan_to_num_(nan=0.0, posinf=torch.inf).flatten()
        update_rms.append(float(adam_direction(state, group).square().mean().sqrt()))
        agreements.append(_sign_agreement(state["exp_avg"], parameter.grad))
        ranks = (max(1, math.ceil(probability * ratio.numel())) for probability in probabilities)
        quantiles.append([float(ratio.kthvalue(rank).values) for rank in ranks])
    return AdamStatistics(
        names=tuple(parameters),
        update_rms=np.array(update_rms),
        sign_agreement=np.array(agreements),
        probabilities=np.array(probabilities, dtype=np.float64),
        quantiles=np.array(quantiles),
    )


def _sign_agreement(average: Tensor, gradient: Tensor | None) -> float:
    if gradient is None:
        return math.nan
    signs = average.sign() * gradient.sign()
    counted = signs.count_nonzero()
    return float((signs > 0).sum() / counted) if counted else math.nan
