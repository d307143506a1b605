"""The studies that have a name on the command line: what each asks, what it costs, how it is run.

Nothing of a study is imported before it is run or loaded, so that they can be listed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.files import BadInput
from experiments.studies.options import (
    CLOCKS,
    CORES,
    EARLIER,
    EARLIER_WIDTHS,
    ENSEMBLES,
    LENGTHS,
    MOVED,
    SAME_ANGLE,
    SEEDS,
    TABLE,
    TABLE_ONLY,
    Option,
    lengths,
    minutes,
    one_of,
    optimizers,
    results_of,
    share,
    tables,
    whole_number,
    yes_or_no,
)

if TYPE_CHECKING:
    from experiments.sweeps.study import Study


@dataclass(frozen=True)
class Later:
    """A function of a study's module, which is imported when it is called."""

    module: str
    function: str

    def __call__(self, *arguments: object, **options: object) -> Any:
        return getattr(import_module(f"experiments.studies.{self.module}"), self.function)(*arguments, **options)


@dataclass(frozen=True, kw_only=True)
class RegisteredStudy:
    """A study by name.

    name : letters, digits and dashes. question : in one line. cost : of all its runs. run : makes the runs that are
    missing in a `experiments.studies.workplace.Workplace` and writes the answers; takes the options by name. load :
    the runs for `lrbend plan` and `lrbend sweep`; None where they are not those of a sweep. rule : the module that
    has the decision rule, where it is not that of `run` or its package.
    """

    name: str
    question: str
    cost: str
    run: Later
    load: Callable[[], Study] | None = None
    options: tuple[Option, ...] = ()
    rule: str | None = None

    @property
    def described_in(self) -> str:
        """The module whose docstring has the question, the method, the decision rule and what is measured."""
        return self.rule or f"experiments.studies.{self.run.module.removesuffix('.run')}"

    def read_options(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The keywords of `run` for options as they were typed; raises `BadInput` for those that cannot be meant."""
        known = {option.name: option for option in self.options}
        values = {}
        for name, text in given.items():
            if name not in known:
                takes = f"one of {', '.join(known)}" if known else "it takes none"
                raise BadInput(f"--option {name}: not an option of {self.name}; {takes}")
            try:
                values[name.replace("-", "_")] = known[name].read(text)
            except ValueError as error:
                raise BadInput(f"--option {name}={text[:200]}: must be {error}") from None
        return values


def registered_study(name: str) -> RegisteredStudy:
    """By its name; raises `BadInput` that tells those there are."""
    if name not in STUDIES:
        raise BadInput(f"{name[:200] or '(empty)'}: not a study; one of {', '.join(STUDIES)}")
    return STUDIES[name]


def load_study(given: str) -> Study:
    """The runs of a study, by its name or from a JSON file; raises `BadInput`, one line, for anything else."""
    from experiments.sweeps.study import read_study

    if given in STUDIES:
        load, cost = STUDIES[given].load, STUDIES[given].cost
        if load is None:
            raise BadInput(
                f"{given}: not made of the runs of a sweep; lrbend study {given} runs it, at a cost of {cost}"
            )
        return load()
    path = Path(given)
    if path.suffix != ".json" and not path.is_file():
        known = ", ".join(name for name, study in STUDIES.items() if study.load is not None)
        raise BadInput(f"{given[:200] or '(empty)'}: not a study; one of {known}, or the path of a JSON file")
    return read_study(path)


STUDIES = {
    study.name: study
    for study in (
        RegisteredStudy(
            name="lr-transfer-small",
            question="How do the optimal learning rates of AdamW and AdamH move with width and length in small models?",
            cost="1 to 2 core-hours (estimated)",
            run=Later("lr_transfer_small", "run_study"),
            load=Later("lr_transfer_small", "study"),
        ),
        RegisteredStudy(
            name="same-angle",
            question="On real text, does AdamW at its equilibrium norm train best at the same mean angle as AdamH?",
            cost="43 core-minutes",
            rule="experiments.studies.same_angle.study",
            run=Later("same_angle.run", "run_study"),
            load=Later("same_angle.study", "study"),
            options=(TABLE,),
        ),
        RegisteredStudy(
            name="gpu-check",
            question="Is the path through a GPU right, and how fast is it?",
            cost="254 seconds on an H200; a tenth of it 2 core-minutes",
            rule="gpt.gpu_check",
            run=Later("gpu.check", "run_study"),
            options=(
                Option("device", "cpu|cuda", "where it runs (default: a GPU, or not at all)", one_of("cpu", "cuda")),
                Option("scale", "SHARE", "of its size (default: 1 on a GPU, 0.1 on a CPU)", share),
            ),
        ),
        RegisteredStudy(
            name="gpu-hour",
            question="How do the optimal learning rates of AdamW and AdamH move from 5M to 22M parameters?",
            cost="1 hour of an H100 (estimated; no GPU has run it)",
            run=Later("gpu.hour", "run_study"),
            load=Later("gpu.hour", "study"),
        ),
        RegisteredStudy(
            name="ladder",
            question="Does the optimal learning rate of AdamW or AdamH bend from 22M to 708M parameters?",
            cost="880 hours of an H100 (estimated; no GPU has run it)",
            run=Later("ladder", "run_study"),
            load=Later("ladder", "study"),
        ),
        RegisteredStudy(
            name="bend",
            question="Does AdamW's best learning rate bend along parameters or tokens, and does the transient do it?",
            cost="5 minutes of a GPU, or 6 core-hours for a part; 5,000 hours of an H100 at --scale gpu (estimated)",
            run=Later("bend.run", "run_study"),
            load=Later("gpu.bend", "study"),
            options=(
                Option("scale", "cpu|gpu", "gpu: a plan, no runs (default: cpu)", one_of("cpu", "gpu")),
                Option("minutes", "NUMBER", "after which no run begins; 0 for none (default: no limit)", minutes),
                EARLIER,
                Option("made", "NUMBER", "of studies that the law makes, for the power; trains nothing", whole_number),
                Option("expected", "FILE.csv", "what those gave (default: docs/bend/expected.csv)", Path),
                ENSEMBLES,
                Option("again", "FILE.csv,FILE.csv", "runs of cores, made again on a GPU: compares them", tables),
                CORES,
                CLOCKS,
            ),
        ),
        RegisteredStudy(
            name="solvable-bend",
            question="Does the optimal learning rate bend in a solvable model, and does the norm's transient do it?",
            cost="10 core-minutes",
            rule="experiments.studies.solvable_bend.study",
            run=Later("solvable_bend.run", "run_study"),
        ),
        RegisteredStudy(
            name="angle-law",
            question="Does a law fitted to AdamH alone, which knows when the angles come, predict AdamW's optima?",
            cost="14 core-minutes",
            run=Later("angle_law.run", "run_study"),
            options=(
                TABLE,
                results_of("same-angle", "runs.csv, answers.csv"),
                results_of("schedule-exponent"),
                MOVED,
                results_of("bend", "tables"),
            ),
        ),
        RegisteredStudy(
            name="small-starts",
            question="Is AdamW's best rate from a small start where a pilot had it, or where AdamH's laws have it?",
            cost="18 core-minutes",
            run=Later("small_starts.run", "run_study"),
            options=(
                EARLIER,
                TABLE_ONLY,
                ENSEMBLES,
                SAME_ANGLE,
                results_of("angle-law", "law.csv, two-clocks.csv"),
                results_of("moved-optimum", "optima.csv"),
            ),
        ),
        RegisteredStudy(
            name="transient-length",
            question="How long is the norm's transient over learning rates and decays, and is it as long as predicted?",
            cost="13 core-minutes",
            run=Later("transient_length.run", "run_study"),
        ),
        RegisteredStudy(
            name="transient-domain",
            question="Is the norm's transient as long as predicted where memory and steps are short?",
            cost="37 core-minutes",
            run=Later("transient_domain.run", "run_study"),
        ),
        RegisteredStudy(
            name="moved-optimum",
            question="Does the transient of the norm move AdamW's best learning rate, by as much as the theory says?",
            cost="7 core-hours with all lengths and widths (estimated), 1 up to 3,200 steps at one width",
            run=Later("moved_optimum.run", "run_study"),
            options=(LENGTHS, EARLIER, EARLIER_WIDTHS, ENSEMBLES, SAME_ANGLE, CLOCKS, CORES),
        ),
        RegisteredStudy(
            name="classic",
            question="In classic GPT-2, does a larger start move AdamW's best rate through the angle, or by itself?",
            cost="2 core-hours (estimated), 35 core-minutes at 800 steps",
            run=Later("classic.run", "run_study"),
            options=(LENGTHS, EARLIER, ENSEMBLES, CLOCKS),
        ),
        RegisteredStudy(
            name="classic-bend",
            question="Does AdamW's best rate bend along parameters in classic GPT-2, and does the start change that?",
            cost="3 core-hours at 800 steps, 2 more at 1,600 (estimated)",
            run=Later("classic_bend.run", "run_study"),
            options=(
                LENGTHS,
                EARLIER,
                Option("made", "NUMBER", "of made studies, for the power; trains nothing", whole_number),
                results_of("classic"),
            ),
        ),
        RegisteredStudy(
            name="schedule-exponent",
            question="Does the schedule alone change how AdamH's best learning rate goes with length?",
            cost="1 core-hour for all lengths (estimated), 15 core-minutes up to 3,200 steps",
            run=Later("schedule_exponent.run", "run_study"),
            options=(LENGTHS, EARLIER, ENSEMBLES, SAME_ANGLE, CLOCKS),
        ),
        RegisteredStudy(
            name="one-calibration",
            question="Does the loss law of AdamH's runs give AdamW's losses and best rates, with no other constant?",
            cost="a core-minute; trains nothing",
            run=Later("one_calibration.run", "run_study"),
            options=(
                MOVED,
                SAME_ANGLE,
                results_of("angle-law"),
                results_of("bend", "runs.csv, optima.csv"),
                Option("predict-only", "yes|no", "no loss of AdamW is read (default: no)", yes_or_no),
            ),
        ),
        RegisteredStudy(
            name="rivals",
            question="Does noise scale, sharpness, Adam's statistics or the output norm move as AdamW's optimum does?",
            cost="20 core-minutes (estimated) at 1,600 steps",
            run=Later("rivals.run", "run_study"),
            options=(
                Option("lengths", "STEPS,STEPS", "of the cells to train (default: 1600)", lengths),
                SEEDS,
                EARLIER,
                MOVED,
                SAME_ANGLE,
            ),
        ),
        RegisteredStudy(
            name="public-tables",
            question="Does the best learning rate bend in public sweeps, and less where the norm is fixed?",
            cost="a core-minute; trains nothing, needs the public tables",
            run=Later("public_tables.run", "run_study"),
            options=(Option("data", "FOLDER", "the public tables (default: LRBEND_PUBLIC_DATA)", Path),),
        ),
        RegisteredStudy(
            name="direction",
            question="Why is Adam's direction shorter on real gradients than on white noise?",
            cost="14 core-minutes",
            run=Later("direction", "run_study"),
        ),
        RegisteredStudy(
            name="radial-gradients",
            question="Which law do the radial gradients of classic GPT-2 follow, and does it carry to Pythia-70M?",
            cost="8 core-minutes",
            run=Later("radial_gradients.run", "run_study"),
        ),
        RegisteredStudy(
            name="valley",
            question="Do curvatures fitted at one setting tell the size of Adam's direction at others?",
            cost="10 core-minutes",
            run=Later("valley", "run_study"),
        ),
        RegisteredStudy(
            name="held-out-norms",
            question="Do the theories of networks predict norm and angle at settings that nobody has trained?",
            cost="8 core-minutes",
            run=Later("held_out.run", "run_study"),
        ),
        RegisteredStudy(
            name="replay",
            question="Does the norm of a matrix act on training other than through the angle of its steps?",
            cost="4 core-hours (estimated)",
            run=Later("replay", "run_study"),
            options=(Option("earlier", "FILE.csv", "a replay.csv whose rows count as finished runs", Path), TABLE_ONLY),
        ),
        RegisteredStudy(
            name="conversion",
            question="Does AdamH end where AdamW ends, under the schedule that the theory makes of it?",
            cost="50 core-minutes (estimated), goes on from its table",
            run=Later("conversion.run", "run_study"),
            options=(
                SEEDS,
                Option("earlier", "FILE.csv", "a losses.csv whose rows count as finished runs", Path),
            ),
        ),
        RegisteredStudy(
            name="simulation-grid",
            question="Do the closed forms describe the simulated optimizers, over the domain that they state?",
            cost="20 core-minutes",
            run=Later("simulation_grid", "run_study"),
            options=(
                Option("settings", "NUMBER", "of each optimizer (default: 200)", whole_number),
                Option("optimizers", "NAME,NAME", "the ones to compare (default: all)", optimizers),
            ),
        ),
        RegisteredStudy(
            name="inverse-norm",
            question="Does the theory describe simulated weights whose gradient goes like one over their norm?",
            cost="5 core-minutes",
            run=Later("inverse_norm", "run_study"),
            options=(Option("settings", "NUMBER", "to compare (default: 200)", whole_number),),
        ),
    )
}
