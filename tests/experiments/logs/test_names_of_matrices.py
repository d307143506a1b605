"""Norms of single matrices: read by their names in lines as in tables; named, not read, where nobody knows of what."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.files import BadInput
from experiments.logs.sources.detect import read_source
from experiments.logs.sources.raw_log import RawLog

STEPS = range(0, 500, 100)
FORMS = {
    "blanks": "iter {step}: loss 3.1, lr 0.001, {a} {x}, {b} {y}",
    "colons": "iter {step}: loss: 3.1, lr: 0.001, {a}: {x}, {b}: {y}",
    "equals": "step={step} loss=3.1 lr=0.001 {a}={x} {b}={y}",
    "bars": "step {step} | loss 3.1 | lr 0.001 | {a} {x} | {b} {y}",
    "norms alone": "step {step}, {a} {x}, {b} {y}",
    "a line each": "iter {step}: loss 3.1, lr 0.001\niter {step}: {a} {x}\niter {step}: {b} {y}",
    "a block": "[step={step}/400]\n    lr=0.001\n    {a}={x}\n    {b}={y}",
    "a bar": "  5%|# | {step}/400 [00:10<01:00,  5.31it/s, loss=3.1, lr=0.001, {a}={x}, {b}={y}]",
    "CSV": "{step},3.1,0.001,{x},{y}",
    "an object behind its step": "step {step}: {{'loss': 3.1, 'lr': 0.001, '{a}': {x}, '{b}': {y}}}",
    "an object": "{{'step': {step}, 'loss': 3.1, 'lr': 0.001, '{a}': {x}, '{b}': {y}}}",
}
TOLD = {
    "weight_norm/{}": "weight_norm",
    "param_norm/{}": "weight_norm",
    "params/{}.norm": "weight_norm",
    "{}.weight_norm": "weight_norm",
    "weight_rms/{}": "weight_rms",
    "weights/{}/rms": "weight_rms",
    "{}/w/rms": "weight_rms",
    "param/rms/{}": "weight_rms",
    "update_rms/{}": "update_rms",
}
UNTOLD = ("norm/{}", "{}.norm", "{}_norm", "frobenius_norm/{}")
MATRICES = ("h.0.attn.c_attn", "layers[1].mlp")


def read(folder: Path, form: str, name: str, columns: dict[str, str] | None = None) -> RawLog:
    a, b = map(name.format, MATRICES)
    path = folder / "train.log"
    head = f"step,loss,lr,{a},{b}\n" if form == "CSV" else ""
    path.write_text(
        head + "".join(FORMS[form].format(step=t, a=a, b=b, x=26 + t / 250, y=30 - t / 500) + "\n" for t in STEPS)
    )
    return read_source(path, columns or {})


def values(log: RawLog, quantity: str, matrix: str = "") -> dict[int, float]:
    rows, numbers = log.series[quantity, matrix]
    return dict(zip(log.steps[rows].astype(int).tolist(), numbers.tolist(), strict=True))


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("form", FORMS)
def test_names_that_tell_what_they_are_of(form: str, name: str, tmp_path: Path) -> None:
    log = read(tmp_path, form, name)
    assert values(log, TOLD[name], MATRICES[0]) == pytest.approx({t: 26 + t / 250 for t in STEPS})
    assert values(log, TOLD[name], MATRICES[1]) == pytest.approx({t: 30 - t / 500 for t in STEPS})
    assert set(log.series) - {("loss", ""), ("learning_rate", "")} == {(TOLD[name], one) for one in MATRICES}
    assert not log.unread_norms
    assert log.num_broken == 0


def test_rms_of_something_is_mapped_as_rms(tmp_path: Path) -> None:
    log = read(tmp_path, "CSV", "stats/{}/rms")
    (note,) = (note for note in log.notes if "not told whether of weights" in note)
    assert "--column 'weight_rms=*/rms' takes them as RMS" in note
    mapped = read(tmp_path, "CSV", "stats/{}/rms", {"weight_rms": "*/rms"})
    assert ("weight_rms", f"stats/{MATRICES[0]}") in mapped.series
    assert not read(tmp_path, "CSV", "weights/{}/exp_avg/rms").unread_norms


@pytest.mark.parametrize("name", UNTOLD)
@pytest.mark.parametrize("form", [form for form in FORMS if form != "norms alone"])
def test_names_that_do_not_are_named_and_can_be_mapped(form: str, name: str, tmp_path: Path) -> None:
    log = read(tmp_path, form, name)
    assert log.unread_norms == tuple(map(name.format, MATRICES))
    assert not {quantity for quantity, _ in log.series} - {"loss", "learning_rate"}
    (note,) = (note for note in log.notes if "not told whether of weights" in note)
    assert ", ".join(log.unread_norms) in note
    assert f"'weight_norm={name.format('*')}'" in note
    both = read(tmp_path, form, name, {"weight_norm": name.format("*")})
    assert {matrix for quantity, matrix in both.series if quantity == "weight_norm"} == set(MATRICES)
    one = read(tmp_path, form, name, {"weight_norm": name.format(MATRICES[0])})
    assert values(one, "weight_norm") == pytest.approx({t: 26 + t / 250 for t in STEPS})
    assert one.unread_norms == (name.format(MATRICES[1]),)


@pytest.mark.parametrize("name", ["grad_norm/{}", "{}.grad.norm", "update_norm/{}", "exp_avg/{}.norm", "{}.grad_norm"])
@pytest.mark.parametrize("form", ["blanks", "equals", "CSV"])
def test_norms_of_something_else_are_left_alone(form: str, name: str, tmp_path: Path) -> None:
    log = read(tmp_path, form, name)
    assert set(log.series) == {("loss", ""), ("learning_rate", "")}
    assert not log.unread_norms


def test_a_star_takes_no_gradients_and_stands_in_names_of_matrices_alone(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"step {t}: loss 3, grad_norm 2.5, wte_norm {t}, wte_grad_norm 7\n" for t in STEPS))
    log = read_source(path, {"weight_norm": "*_norm"})
    assert set(log.series) == {("loss", ""), ("gradient_norm", ""), ("weight_norm", "wte")}
    for columns, said in (
        ({"weight_norm": "nothing/*"}, "no such name"),
        ({"loss": "*_loss"}, "one * beside other text"),
        ({"weight_norm": "*"}, "one * beside other text"),
        ({"weight_norm": "*/*"}, "one * beside other text"),
    ):
        with pytest.raises(BadInput, match="--column .*" + said.replace("*", r"\*")):
            read_source(path, columns)


def test_the_usual_words_stay_what_they_were_beside_names_with_dashes(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(
        "".join(f"step {t}: train-loss 3, grad-norm 2.5, weight-norm {t + 1}, c_fc-norm 9\n" for t in STEPS)
    )
    log = read_source(path, {})
    assert values(log, "loss") == dict.fromkeys(STEPS, 3)
    assert values(log, "gradient_norm") == dict.fromkeys(STEPS, 2.5)
    assert values(log, "weight_norm") == {t: t + 1 for t in STEPS}


def test_what_else_varies_is_listed_where_no_weights_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = [f"{t},3.0,{t / 7},100,{t}.5,{t}\n" for t in STEPS]
    path.write_text("step,loss,W.size,batch,_runtime,loss__MAX\n" + "".join(rows))
    assert "not read, though it varies: W.size; --column OURS=THEIRS maps a name" in read_source(path, {}).notes
    path.write_text("step,loss,W.size,batch,weight_rms,x\n" + "".join(rows))
    assert not [note for note in read_source(path, {}).notes if "not read" in note]


def test_names_that_differ_by_a_number_stay_apart(tmp_path: Path) -> None:
    """Lines are remembered by their form, without its numbers, but not without those of names."""
    path = tmp_path / "train.log"
    path.write_text(
        "".join(f"step {t}: loss 3, weight_norm/h.{m} {t + m}\n" for t in STEPS for m in (10, 11, 2)).replace(
            "h.2", "H.2"
        )
    )
    log = read_source(path, {})
    for name, m in (("h.10", 10), ("h.11", 11), ("H.2", 2)):
        assert values(log, "weight_norm", name) == {t: t + m for t in STEPS}
