"""Configs to JSON and back, strictly: unknown keys, missing keys and wrong types are errors that say where.

Only the way back needs cattrs, which is imported when it is gone: a machine without it can train and name what it made.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from experiments.files import BadInput, one_line, to_json
from experiments.runs.simulation import SimulationConfig
from gpt.config import TRAINABLE_OPTIMIZERS, TrainableOptimizer, TrainConfig
from theory import ALL_SCHEDULES, OPTIMIZERS, InvalidParameter, Optimizer, Schedule

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

KINDS: dict[str, type[TrainConfig] | type[SimulationConfig]] = {"train": TrainConfig, "simulation": SimulationConfig}


def config_to_dict(config: Any) -> dict[str, Any]:
    """A plain dict that `config_from_dict` turns back into an equal config.

    A field marked ``later`` is left out at its default: a config that does not use it is written, and named, as before
    it existed. Optimizers and schedules carry their ``name``.
    """
    kept = [field for field in dataclasses.fields(config) if not _is_left_out(field, getattr(config, field.name))]
    return {field.name: _plain(getattr(config, field.name)) for field in kept}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = {"name": value.name} if isinstance(value, Optimizer | Schedule) else {}
        return {**name, **config_to_dict(value)}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def config_from_dict(cls: type[T], data: object, *, where: str) -> T:
    """Build a config; raises `BadInput` with one line that names ``where``, the key and the fault.

    >>> from theory import AdamW, Constant
    >>> optimizer, schedule = AdamW(learning_rate=0.01, weight_decay=0.1), Constant(num_steps=10)
    >>> data = config_to_dict(SimulationConfig(optimizer=optimizer, schedule=schedule, initial_rms=0.02))
    >>> config_from_dict(SimulationConfig, data, where="config.json").optimizer == optimizer
    True
    >>> config_from_dict(SimulationConfig, data | {"sed": 1}, where="config.json")
    Traceback (most recent call last):
        ...
    experiments.files.BadInput: config.json: unknown key 'sed'
    """
    if not isinstance(data, dict):
        raise BadInput(f"{where}: expected an object with the keys of {cls.__name__}")
    from cattrs.errors import ClassValidationError

    try:
        return _converter().structure(data, cls)
    except InvalidParameter as error:
        raise BadInput(f"{where}: {error}") from None
    except ClassValidationError as error:
        raise BadInput(f"{where}: {_first_fault(error)}") from None
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise BadInput(f"{where}: {one_line(error)}") from None


def config_hash(config: Any) -> str:
    """Ten hexadecimal digits for the name of a run directory: the same for equal configs, on every machine.

    A checkpoint knows its config by another number, `gpt.config.TrainConfig.checkpoint_digest`.
    """
    canonical = json.dumps(config_to_dict(config), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def config_text(config: TrainConfig | SimulationConfig) -> str:
    """The text of a run's ``config.json``, with its ``kind``; `read_config` turns it back into an equal config."""
    (kind,) = (kind for kind, cls in KINDS.items() if isinstance(config, cls))
    return to_json({"kind": kind, **config_to_dict(config)}, indent=2)


def read_config(data: object, *, where: str) -> TrainConfig | SimulationConfig:
    """What a run's ``config.json`` holds; raises `BadInput`."""
    if not isinstance(data, dict):
        raise BadInput(f"{where}: expected an object")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadInput(f"{where}: kind {kind!r} is not one of {', '.join(KINDS)}")
    return config_from_dict(KINDS[kind], {k: v for k, v in data.items() if k != "kind"}, where=where)


def _first_fault(error: BaseException, path: str = "") -> str:
    """Walk cattrs' nested errors to the first cause, with the dotted path to it."""
    from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

    if isinstance(error, ClassValidationError | IterableValidationError):
        first = error.exceptions[0]
        for note in getattr(first, "__notes__", []):
            name = getattr(note, "name", getattr(note, "index", None))
            if name is not None:
                path = f"{path}.{name}" if path else str(name)
        return _first_fault(first, path)
    at = f"{path}: " if path else ""
    if isinstance(error, ForbiddenExtraKeysError):
        return f"{at}unknown key {', '.join(sorted(map(repr, error.extra_fields)))}"
    if isinstance(error, KeyError):
        return f"{path.rpartition('.')[0] or 'top level'}: missing key {error.args[0]!r}"
    return at + one_line(error)


def _strict(expected: type, value: object) -> Any:
    """A JSON value of just this type: no text for numbers, no fraction for a whole number."""
    if expected is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return float(value)
    if type(value) is not expected:
        names = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
        shown = repr(value) if len(repr(value)) < 60 else type(value).__name__
        raise TypeError(f"{shown} is not {names[expected]}")
    return value


@cache
def _converter() -> Converter:
    from cattrs import Converter

    converter = Converter(forbid_extra_keys=True)
    for expected in (float, int, bool, str):
        converter.register_structure_hook(expected, lambda value, _, expected=expected: _strict(expected, value))
    converter.register_structure_hook_func(
        _is_optional_scalar,
        lambda value, union: None if value is None else converter.structure(value, _other_than_none(union)),
    )
    converter.register_structure_hook_factory(_is_list, lambda kind: _strict_list(kind, converter))
    _register_named(converter, Optimizer, OPTIMIZERS)
    _register_named(converter, TrainableOptimizer, TRAINABLE_OPTIMIZERS)
    _register_named(converter, Schedule, ALL_SCHEDULES)
    return converter


def _is_list(kind: Any) -> bool:
    return typing.get_origin(kind) is tuple and typing.get_args(kind)[1:] == (Ellipsis,)


def _strict_list(kind: Any, converter: Converter) -> Callable[[object, Any], Any]:
    """A JSON list and nothing else that can be iterated over, such as text."""
    from cattrs.cols import homogenous_tuple_structure_factory

    structure = homogenous_tuple_structure_factory(kind, converter)

    def structure_list(value: object, _: Any) -> Any:
        if not isinstance(value, list):
            raise TypeError(f"{type(value).__name__} is not a list")
        return structure(value, kind)

    return structure_list


def _register_named(converter: Converter, union: Any, registry: Mapping[str, type]) -> None:
    """One of several classes, told apart by the key ``name``."""

    def structure(value: object, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object with a name, one of {', '.join(registry)}")
        name = value.get("name")
        if not isinstance(name, str) or name not in registry:
            raise ValueError(f"name {name!r} is not one of {', '.join(registry)}")
        return converter.structure({key: item for key, item in value.items() if key != "name"}, registry[name])

    converter.register_structure_hook(union, structure)
    converter.register_structure_hook(
        union | None, lambda value, kind: None if value is None else structure(value, kind)
    )


def _is_left_out(field: dataclasses.Field[Any], value: object) -> bool:
    return bool(field.metadata.get("later")) and bool(value == field.default)


def _is_optional_scalar(kind: Any) -> bool:
    return isinstance(kind, types.UnionType) and type(None) in typing.get_args(kind) and len(typing.get_args(kind)) == 2


def _other_than_none(union: Any) -> Any:
    return next(kind for kind in typing.get_args(union) if kind is not type(None))
