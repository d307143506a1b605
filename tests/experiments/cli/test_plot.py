"""``--plot FILE`` of every command that has it: a file of each kind, nothing where refused, no cost without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pytest
from matplotlib.figure import Figure

from experiments.cli.main import main
from experiments.cli.settings import convert, predict, simulate
from tests.experiments.cli.said import refusal, strict_json
from tests.experiments.cli.tables.test_losses import rows_of, write

ROOT = Path(__file__).parents[3]
COMMANDS = {
    "predict": "predict --learning-rate 1e-3 3e-3 --num-steps 200",
    "convert": "convert --from adamw --to adamh --learning-rate 1e-3 --num-steps 200",
    "simulate": "simulate --learning-rate 1e-2 --num-steps 30 --dim 256 --num-replicas 4",
    "fit": "fit RUNS --group arm --where outcome=completed",
    "recommend": "recommend RUNS --column optimizer=arm --num-tokens 4e6",
    "attribute": "attribute OPTIMA --optima --where problem=mixed"
    " --arm reference=own:own --arm adamh=steady:fixed:angle",
    "losses": "losses LOSSES --num-steps 2500",
    "read": "read LOG --weight-decay 0.1",
}
KINDS = ("svg", "pdf")  # beside png; what is drawn does not know the kind
FILES = {"RUNS": f"{ROOT}/docs/same-angle/runs.csv", "OPTIMA": f"{ROOT}/docs/solvable-bend/optima.csv"}
LOG = "".join(f"{step},{1e-3 * (1 - step / 500)},{0.02 + 4e-5 * step}\n" for step in range(0, 501, 10))


def words_of(command: str, losses: str) -> list[str]:
    """Its words, with the paths of this checkout, in which there may be a space."""
    files = {**FILES, "LOSSES": losses, "LOG": str(Path(losses).with_name("log.csv"))}
    return [files.get(word, word) for word in COMMANDS[command].split()]


@pytest.fixture
def losses(tmp_path: Path) -> str:
    (tmp_path / "log.csv").write_text(f"step,learning_rate,weight_rms\n{LOG}")
    return write(tmp_path / "losses.csv", rows_of(1500, 2500))


def is_picture(path: Path) -> bool:
    """Whether the file is what its ending says, whole and not blank."""
    if path.suffix == ".png":
        return bool(matplotlib.image.imread(path).std() > 0.01)
    if path.suffix == ".svg":
        return len(list(ElementTree.parse(path).iter())) > 50
    content = path.read_bytes()
    return content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF")


@pytest.mark.long
@pytest.mark.parametrize(("command", "kind"), [*((name, "png") for name in COMMANDS), *(("predict", k) for k in KINDS)])
def test_a_picture_beside_the_answer(
    command: str, kind: str, losses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pictures" / f"answer.{kind}"
    path.parent.mkdir()
    assert main([*words_of(command, losses), "--json", "--plot", str(path)]) == 0
    assert strict_json(capsys.readouterr().out)
    assert is_picture(path)
    assert list(path.parent.iterdir()) == [path]


PREDICT = "predict --learning-rate 1e-3"
LINES = "--num-steps 200 --weight-decay 0.1 --initial-rms 0.02 2x equilibrium"
ONE_RATE = ["from RMS 0.02", "from 2x equilibrium, RMS 0.1414", "from equilibrium, RMS 0.07068"]


@pytest.mark.parametrize(
    ("words", "title", "lines"),
    [
        (
            f"{PREDICT} --num-steps 200 --decay independent --weight-decay 1e-4 --beta2 0.999 --beta1 0.8",
            "Closed form: adamw, learning rate 0.001, decay 0.0001 (independent), beta1 0.8, beta2 0.999, from RMS"
            " 0.02, constant schedule of 200 steps, network white-noise",
            [],
        ),
        (
            f"{PREDICT} --num-steps 200 --schedule wsd --warmup-steps 20 --final-fraction 0.1 --initial-rms 2x"
            " --finite-beta2 --network scale-invariant --direction 0.885",
            "Closed form: adamw, learning rate 0.001, decay 0.1, beta2 0.95, from 2x equilibrium, RMS 0.1238, wsd"
            " schedule of 200 steps (warmup 20, decay over 0.2 of it, down to 0.1 of the peak), finite beta2,"
            " network scale-invariant, direction 0.885 of white noise",
            [],
        ),
        (
            f"{PREDICT} {LINES}",
            "Closed form of 3 settings: adamw, learning rate 0.001, decay 0.1, beta2 0.95, constant schedule of 200"
            " steps, network white-noise",
            ONE_RATE,
        ),
        (
            "predict --optimizer sgdm --learning-rate 1e-3 --num-steps 200 --weight-decay 0.1 0.2 --gradient-rms 2",
            "Closed form of 2 settings: sgdm, learning rate 0.001, decay (coupled), from RMS 0.02, constant schedule"
            " of 200 steps, gradient RMS 2, network white-noise",
            ["decay 0.1", "decay 0.2"],
        ),
        (
            "simulate --learning-rate 1e-2 --weight-decay 0.3 --schedule cosine --num-steps 30 --dim 256"
            " --num-replicas 4",
            "Simulation of noise: adamw, learning rate 0.01, decay 0.3, beta2 0.95, from RMS 0.02, cosine schedule of"
            " 30 steps, 4 replicas of 256 entries",
            [],
        ),
        (
            "convert --from adamh --to adamw --learning-rate 1e-2 --num-steps 200 --to-weight-decay 0.1",
            "Conversion of adamh, learning rate 0.01, beta2 0.95, from RMS 0.02, constant schedule of 200 steps, to"
            " adamw, learning rate 0.009403 (at equilibrium it turns as far as the source at its peak), decay 0.1,"
            " beta2 0.95",
            [],
        ),
    ],
)
def test_a_title_has_what_decides_the_picture_and_a_legend_what_differs(
    words: str, title: str, lines: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Figure] = []
    for command in (predict, simulate, convert):
        monkeypatch.setattr(command, "write_plot", lambda options, draw: drawn.append(draw()))
    assert main([*words.split(), "--plot", str(tmp_path / "a.png")]) == 0
    (figure,) = drawn
    assert figure.get_suptitle().replace("-\n", "-").replace("\n", " ") == title
    legend = figure.axes[1].get_legend()
    assert ([] if legend is None else [text.get_text() for text in legend.texts]) == lines


@pytest.mark.parametrize("command", COMMANDS)
def test_another_ending_is_refused_before_anything_is_read(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["/no/such.csv" if word in (*FILES, "LOSSES", "LOG") else word for word in COMMANDS[command].split()]
    for name in ("answer.jpg", "answer", "png"):
        assert "must end in .png, .svg or .pdf" in refusal([*words, "--plot", str(tmp_path / name)], capsys)
    assert "no folder" in refusal([*words, "--plot", str(tmp_path / "absent" / "answer.png")], capsys)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_or_drawn_leaves_nothing(
    losses: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "answer.png"
    folder.mkdir()
    words = COMMANDS["predict"].split()
    assert "--plot" in refusal([*words, "--plot", str(folder)], capsys)
    assert list(folder.iterdir()) == []
    assert "nothing to rank" in refusal(["losses", losses, "--plot", str(tmp_path / "losses.png")], capsys)
    assert not (tmp_path / "losses.png").exists()


@pytest.mark.long
def test_matplotlib_is_imported_for_a_picture_only() -> None:
    code = (
        "import json, sys; from experiments.cli.main import main;"
        "answers = [main(words) for words in json.loads(sys.argv[1])];"
        "print(json.dumps([answers, 'matplotlib' in sys.modules]))"
    )
    commands = json.dumps([words_of(command, "losses.csv") for command in ("predict", "fit", "recommend")])
    done = subprocess.run([sys.executable, "-c", code, commands], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0, 0], False]
