"""What `lrbend diagnose` measured at the end of a finished run, read back from its directory."""

from __future__ import annotations

import math
from pathlib import Path

from experiments.files import BadInput, read_json
from experiments.runs.run_directory import read_checked, read_checksums
from experiments.runs.run_files import is_number_or_none

FILE = "diagnosis.json"
COLUMNS = ("noise_scale", "sharpness", "preconditioned_sharpness", "update_rms", "sign_agreement")


def read_diagnosis(run_dir: Path) -> dict[str, float]:
    """What `diagnose` left in a run directory, NaN for what it does not hold; raises `BadInput`."""
    file = run_dir / FILE
    if not file.exists():
        return dict.fromkeys(COLUMNS, math.nan)
    found = read_json(file)
    if not isinstance(found, dict):
        raise BadInput(f"{file}: expected an object")
    values = {name: found.get(name) for name in COLUMNS}
    for name, value in values.items():
        if not is_number_or_none(value):
            raise BadInput(f"{file}: {name} is not a number")
    read_checked(run_dir, FILE, read_checksums(run_dir))
    return {name: math.nan if value is None else float(value) for name, value in values.items()}
