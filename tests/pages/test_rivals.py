"""The table of the rivals of the angle has the numbers of `rivals`."""

from __future__ import annotations

from tests.pages.shown import cells, is_rounded, table_of


def test_the_table_of_rivals() -> None:
    both = table_of("rivals").set_index(["scope", "quantity", "moment"])
    rows, more = both.loc["AdamW"], both.loc["with AdamH"]
    names = {"mean angle": ("mean_angle", "run")}
    for name, moment in (("half way", "half"), ("at the end", "end")):
        names |= {
            f"sharpness, {name}": ("sharpness", moment),
            f"sharpness as Adam sees it, {name}": ("preconditioned_sharpness", moment),
            f"sharpness in units of the norms, {name}": ("normalised_sharpness", moment),
        }
    names |= {
        "weight RMS, at the end": ("weight_rms", "end"),
        "rate x sharpness, half way": ("rate x sharpness", "half"),
        "rate x sharpness as Adam sees it, half way": ("rate x preconditioned_sharpness", "half"),
        "rate x update RMS, half way": ("rate x update_rms", "half"),
        "rate x root of noise scale, half way": ("rate x noise_scale^0.5", "half"),
    }
    for name, key in names.items():
        row = rows.loc[key]
        p, shift, verdict, with_adamh = cells("rivals", f"{name} ")
        if key in more.index:
            said, _, judged = with_adamh.partition(": ")
            assert more.loc[key, "p"] < 0.001 if said.startswith("<") else is_rounded(said, [more.loc[key, "p"]]), name
            assert judged == more.loc[key, "verdict"]
        assert row["p"] < 0.001 if p.startswith("<") else is_rounded(p, [row["p"]]), name
        assert is_rounded(shift, row[["shift", "shift_low", "shift_high"]].astype(float).tolist()), name
        assert verdict == row["verdict"]
    flat = rows.loc[["noise_scale", "update_rms", "sign_agreement", "output_norm", "logit_rms"]]
    flat = flat.drop(("output_norm", "end"))  # is open
    p, _, verdict, with_adamh = cells(
        "rivals", "noise scale, Adam's update RMS and sign agreement, output norm half way, logits"
    )
    assert flat["p"].min() > float(p.removeprefix("> "))
    assert set(flat["verdict"]) == {verdict}
    least, verdict = with_adamh.removeprefix("> ").split(": ")
    flat = more.loc[flat.index]
    assert flat["p"].min() > float(least)
    assert set(flat["verdict"]) == {verdict}
