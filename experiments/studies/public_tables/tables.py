"""The public tables with an optimum to read: which rows of which file, and along which scale."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.calibration.real_tables import RealTable

ONE_SERIES = "run_name!=*cosine*,*nl8-mup-adamh-decay*,*nl16-mup-adamh-decay*"  # of AdamH, the one with Adam's settings


@dataclass(frozen=True, kw_only=True)
class PublicTable:
    """A table and where it comes from."""

    runs: RealTable
    source: str


HYPERBALL = "GitHub WhenWen/WhenWen.github.io, wd_blog/scripts; MIT"
TRANSFER = "hyperball/transfer_width_depth.csv"
SLIMPAJAMA = {"learning_rate": "lr", "loss": "final_val_loss", "num_params": "params"}


def _transfer(name: str, axis: dict[str, str], held: str, warmup: str, *optimizers: str) -> PublicTable:
    """A series of Adam, AdamH and MuonH, which warm up for a tenth, or of Muon, which does not."""
    where = (held, f"warmup={warmup}", "min_lr_ratio=0", f"optimizer_name={','.join(optimizers)}", ONE_SERIES)
    runs = RealTable(name=name, file=TRANSFER, groups=("optimizer_name",), axes=axis, where=where)
    return PublicTable(runs=runs, source=HYPERBALL)


TABLES = (
    PublicTable(
        runs=RealTable(
            name="tokens",
            file="hyperball/lr_datasize_muon_vs_muonh.csv",
            groups=("optimizer_name",),
            constants={"num_params": 1.3e8},
        ),
        source=HYPERBALL,
    ),
    _transfer("depth at width 128", {"depth": "num_layers"}, "hidden_dim=128", "0.1", "adam", "adamh", "muonh"),
    _transfer("depth at width 128, no warmup", {"depth": "num_layers"}, "hidden_dim=128", "0", "muon"),
    _transfer("width at 4 layers", {"width": "hidden_dim"}, "num_layers=4", "0.1", "adam", "adamh", "muonh"),
    _transfer("width at 4 layers, no warmup", {"width": "hidden_dim"}, "num_layers=4", "0", "muon"),
    PublicTable(
        runs=RealTable(
            name="size and tokens",
            file="marin/optimizer_ablations.csv",
            columns={"batch_size": "batch"},
            where=("factor=Baseline,learning_rate",),
            groups=("optimizer",),
        ),
        source="GitHub WhenWen/marin, experiments/optimizer_sweep; Apache-2.0",
    ),
    PublicTable(
        runs=RealTable(
            name="steps by share of cooldown",
            file="lr_scheduling/slimpajama_final_losses.csv",
            columns=SLIMPAJAMA,
            axes={"steps": "iterations"},
            where=(
                "n_layer=12",
                "n_embd=768",
                "scheduler=wsd",
                "decay_type=linear",
                "wsd_fract_decay=0.1,0.2,0.4,0.6,0.8,0.9",
                "file!=*grad_norm*",
            ),
            groups=("wsd_fract_decay",),
        ),
        source="GitHub fabian-sp/lr-scheduling; MIT",
    ),
    PublicTable(
        runs=RealTable(
            name="steps under a cosine to a tenth",
            file="lr_scheduling/slimpajama_final_losses.csv",
            columns=SLIMPAJAMA,
            axes={"steps": "iterations"},
            where=("n_layer=12", "n_embd=768", "file=cos-10-*"),
        ),
        source="GitHub fabian-sp/lr-scheduling; MIT",
    ),
)
