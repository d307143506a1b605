"""The studies by name: listed without what they need, told from other names, given what they ask for."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.cli.main import main
from experiments.files import BadInput
from experiments.studies import registered
from experiments.studies.registered import STUDIES, Later, load_study
from experiments.studies.workplace import Findings, Workplace
from gpt.estimates import num_matrix_params, num_tokens
from gpt.gpu_check.__main__ import main as gpu_check
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.tiny_study import write_study

SWEPT = [name for name, study in STUDIES.items() if study.load is not None]


def test_the_list_tells_question_cost_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--json"]) == 0
    said = strict_json(capsys.readouterr().out)["studies"]
    assert [entry["name"] for entry in said] == list(STUDIES)
    assert all(entry["question"].endswith("?") and entry["cost"] for entry in said)
    assert main(["study"]) == 0
    text = capsys.readouterr().out
    for entry in said:
        assert f"{entry['name']}: {entry['question']}\n    {entry['cost']}" in text
        for option in entry["options"]:
            assert f"--option {option['name']}={option['value']}  " in text


def test_the_list_imports_nothing_of_a_study() -> None:
    code = (
        "import sys; from experiments.cli.main import main; main(['study']);"
        "print([name for name in ('torch', 'numba', 'pandas', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_root())
    assert done.stdout.splitlines()[-1] == "[]"


def _root() -> Path:
    return Path(__file__).parents[3]


@pytest.mark.parametrize("name", STUDIES)
def test_what_runs_a_study_takes_its_options(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real function is looked up, and called as it allows, with folders, workers and options as they were given."""
    called: list[inspect.BoundArguments] = []

    class Module:
        """Stands for the study's module: its function says what it was called with."""

        def __init__(self, module: Any) -> None:
            self.module = module

        def run_study(self, *arguments: Any, **options: Any) -> Findings:
            called.append(inspect.signature(self.module.run_study).bind(*arguments, **options))
            return Findings(answers=pd.DataFrame({"answer": [42.0, float("nan")]}))

    import_module: Callable[[str], Any] = registered.import_module
    monkeypatch.setattr(registered, "import_module", lambda path: Module(import_module(path)))
    values = {
        "table": "a.csv",
        "earlier": "b.csv",
        "earlier-widths": "c.csv",
        "table-only": "yes",
        "settings": "7",
        "optimizers": "lion,sgdm",
    }
    values |= {"same-angle": "docs/same-angle", "angle-law": "docs/angle-law", "lengths": "1600,3200"}
    values |= {"device": "cpu", "scale": "0.1", "moved-optimum": "docs/moved-optimum", "predict-only": "yes"}
    values |= {"classic": "docs/classic"}
    values |= {"minutes": "0", "made": "2", "expected": "docs/bend/expected.csv"}
    values |= {"schedule-exponent": "docs/schedule-exponent", "ensembles": "yes"}
    values |= {"bend": "docs/bend", "again": "a.csv", "cores": "docs/bend/core-runs.csv"}
    values |= {"data": "shared", "seeds": "8"} | ({"scale": "gpu"} if name == "bend" else {})
    own = [option.name for option in STUDIES[name].options]
    given = [word for option in own for word in ("--option", f"{option}={values[option]}")]
    assert main(["study", name, "--runs", str(tmp_path), "--num-workers", "3", "--json", *given]) == 0
    place = called[0].arguments.pop("place")
    assert place == Workplace(runs=tmp_path, results=tmp_path / "results", num_workers=3)
    assert set(called[0].arguments) == {option.replace("-", "_") for option in own}
    said = strict_json(capsys.readouterr().out)
    assert said["answers"] == [{"answer": 42.0}, {"answer": None}]
    assert (said["study"], said["passed"]) == (name, None)
    assert called[0].kwargs.get("optimizers", ("lion", "sgdm")) == ("lion", "sgdm")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["unheard-of"], "unheard-of: not a study; one of lr-transfer-small, same-angle, gpu-check, gpu-hour, ladder"),
        ([""], "(empty): not a study"),
        (["direction", "--option", "table=a.csv"], "--option table: not an option of direction; it takes none"),
        (["replay", "--option", "table=a.csv"], "--option table: not an option of replay; one of earlier, table-only"),
        (["replay", "--option", "table-only"], "--option table-only: must be NAME=VALUE"),
        (["rivals", "--option", "seeds=0,1"], "--option seeds=0,1: must be a whole number of at least 1"),
        (["replay", "--option", "table-only=maybe"], "--option table-only=maybe: must be yes or no"),
        (["gpu-check", "--option", "scale=2"], "--option scale=2: must be a number above 0 and at most 1"),
        (["gpu-check", "--option", "device=auto"], "--option device=auto: must be cpu or cuda"),
        (["direction", "--num-workers", "0"], "--num-workers 0: must be a whole number of at least 1"),
        (["direction", "--runs", "/proc/nowhere"], "/proc/nowhere"),
        (["--results", "docs"], "--results: needs the NAME of a study"),
        (["--option", "a=b"], "--option: needs the NAME of a study"),
        (["--scale", "gpu"], "--scale: needs the NAME of a study"),
        (["bend", "--option", "minutes=-1"], "--option minutes=-1: must be a whole number of at least 0"),
        (["direction", "--scale", "gpu"], "--option scale: not an option of direction; it takes none"),
    ],
)
def test_what_cannot_be_meant_is_one_line(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"lrbend study: error: {named}" in refusal(["study", *arguments], capsys)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["bend", "--scale", "cpu"], "--scale cpu: gpu alone is planned; bend costs 5 minutes of a GPU"),
        (["ladder", "--scale", "gpu"], "--scale gpu: ladder has no scale; its one size is planned"),
    ],
)
def test_a_scale_that_is_not_planned(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"lrbend plan: error: {named}" in refusal(["plan", *arguments], capsys)


def test_without_a_gpu_each_door_of_the_check_names_its_own_flag(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "study: error: --option device=auto: must be cpu where no GPU" in refusal(["study", "gpu-check"], capsys)
    assert gpu_check([]) == 2
    assert "gpu_check: error: --device auto: must be cpu where no GPU" in capsys.readouterr().err


@pytest.mark.parametrize("name", SWEPT)
def test_a_swept_study_survives_the_way_through_a_file(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    assert study.name == name
    assert load_study(str(write_study(study, tmp_path / "study.json"))) == study


def test_names_without_runs_to_sweep_are_refused() -> None:
    for given in ("lr-transfer", "", "no/such/study"):
        with pytest.raises(BadInput, match="lr-transfer-small, same-angle, gpu-hour, ladder, bend, or the path"):
            load_study(given)
    with pytest.raises(
        BadInput, match="direction: not made of the runs of a sweep; lrbend study direction runs it, at a cost of 14 "
    ):
        load_study("direction")
    with pytest.raises(BadInput, match="No such file"):
        load_study("/no/such/study.json")


def test_the_ladder_trains_on_the_tokens_that_it_states() -> None:
    """20 per non-embedding parameter for all five sizes; the largest has 708M."""
    study = load_study("ladder")
    at_twenty = [cell for cell in study.cells if cell.label.endswith("-20x")]
    assert len(at_twenty) == 10
    for cell in at_twenty:
        assert num_tokens(cell.config) / num_matrix_params(cell.config.model) == pytest.approx(20, rel=0.001)
    assert max(num_matrix_params(cell.config.model) for cell in at_twenty) == pytest.approx(708e6, rel=0.001)


def test_every_study_names_a_module_that_says_what_it_asks_and_its_rule() -> None:
    for study in STUDIES.values():
        spec = find_spec(study.described_in)
        assert spec is not None, study.name
        assert spec.origin is not None
        text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
        assert text is not None, study.name
        assert len(text) > 80, study.name


def test_behind_the_answers_stand_the_verdict_and_where_the_rule_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for passed, said in ((True, "every limit"), (False, "a limit of the rule is not kept, exit code 1"), (None, "")):
        found = Findings(answers=pd.DataFrame({"value": [1.0]}), passed=passed)
        monkeypatch.setattr(Later, "__call__", lambda *_, found=found: found)
        assert main(["study", "valley", "--runs", str(tmp_path)]) == (passed is False)
        output = capsys.readouterr().out
        assert ("Verdict" in output) == bool(said)
        assert said in output
        assert "-m pydoc experiments.studies.valley\n" in output
