"""``--plot FILE`` of every command that has it: a file of each kind, nothing where refused, no cost without it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import pytest

from experiments.cli.main import main
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


def test_matplotlib_is_imported_for_a_picture_only() -> None:
    code = (
        "import json, sys; from experiments.cli.main import main;"
        "answers = [main(words) for words in json.loads(sys.argv[1])];"
        "print(json.dumps([answers, 'matplotlib' in sys.modules]))"
    )
    commands = json.dumps([words_of(command, "losses.csv") for command in ("predict", "fit", "recommend")])
    done = subprocess.run([sys.executable, "-c", code, commands], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0, 0], False]
