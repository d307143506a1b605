"""Commands that do something with the corpus as it is. What they are attacked with is in `tests.attack.grammar`."""

from __future__ import annotations

RATES = "--learning-rate 1e-3 --weight-decay 0.1"
RUN_LENGTH = "--num-params 100000000 --num-steps 2000"
FIELD = "--num-params 1e9 --num-tokens 1e11"
ARMS = "--arm reference=own:own --arm adamh=steady:fixed:angle"

TEMPLATES: dict[str, tuple[str, ...]] = {
    "predict": (
        "--learning-rate 1e-3 3e-3 --weight-decay 0.1 --num-steps 2000 --csv out.csv",
        f"{RATES} --num-steps 500 --trajectory out.csv --network scale-invariant",
        "--optimizer lion --learning-rate 1e-4 --weight-decay 1 --num-steps 2000",
        f"{RATES} --num-steps 500 --plot out.png",
        f"{RATES} --schedule file:lr.csv --trajectory out.csv",
        "--weight-decay 0.1 --schedule file:lr.csv --network gpt2 --initial-rms 0.02",
        f"{RATES} --schedule file:multipliers.csv --num-steps 300 --plot out.svg",
    ),
    "simulate": (
        "--learning-rate 1e-2 --weight-decay 1 --num-steps 20 --dim 8 --num-replicas 2",
        "--learning-rate 1e-2 --weight-decay 1 --num-steps 20 --dim 8 --num-replicas 2 --csv out.csv --plot out.pdf",
        "--weight-decay 1 --schedule file:lr.csv --num-steps 20 --dim 8 --num-replicas 2",
    ),
    "convert": (
        "--from adamw --to adamh --learning-rate 1e-3 --num-steps 500 --schedule-out out.csv",
        f"--from adamw --to lion {RATES} --num-steps 500 --schedule cosine",
        "--from adamh --to adamw --learning-rate 0.01 --num-steps 300 --to-weight-decay 0.1",
        "--from adamw --to muonh --weight-decay 0.1 --schedule file:lr.csv --shape 64 64 --schedule-out out.csv",
        f"--to adamh {RATES} --schedule file:multipliers.csv --finite-beta2",
        f"--to adamh {RATES} --num-steps 300 --network scale-invariant --direction 0.85 --early-gradients 3 20",
    ),
    "explore": (
        "--no-browser --run RUN",
        "--no-browser --run runs --run studies/same-angle/runs.csv",
        "--no-browser --run logs/norms.csv --run lr.csv",
        "--no-browser --port 0 --json",
    ),
    "train": (
        "--config config.json --out made",
        "--config config.json --out half --checkpoint-every 4",
        "--preset cpu-16 --source text.txt --learning-rate 1e-2 --num-steps 3 --batch-size 2 --out made",
        "--preset cpu-16 --source shard.bin --learning-rate 1e-2 --num-steps 3 --batch-size 2 --out made",
        "--preset cpu-16 --source shards --learning-rate 1e-2 --num-steps 3 --batch-size 2 --out made",
        "--preset cpu-16 --source shards --matrix-schedule multipliers.csv --learning-rate 1e-2 --batch-size 2"
        " --num-steps 3 --out made",
        "--preset cpu-16 --source text.txt --schedule file:lr.csv --num-steps 3 --batch-size 2 --out made",
    ),
    "replay": ("RUN --norm fixed --out made", "RUN --norm recorded --gradients plain --out made"),
    "diagnose": ("runs --num-batches 3", "RUN", "runs swept --num-batches 2"),
    "verify": ("runs", "RUN", "runs half", "runs half swept grid"),
    "read": (
        "logs/checkpoint-200 --weight-decay 0.1",
        "logs/checkpoint-200/trainer_state.json",
        "logs/history.csv --weight-decay 0.1 --beta2 0.95 --csv out.csv",
        "logs/history.jsonl --weight-decay 0.1 --num-entries 1000",
        "logs/list.json --column loss=train/loss",
        "logs/nanogpt.txt --learning-rate 6e-4 --schedule cosine --warmup-steps 70 --weight-decay 0.1",
        "logs/llmc.log --weight-decay 0.1 --csv out.csv",
        "logs/modded.txt --optimizer muon --shape 64 64 --learning-rate 0.02",
        "logs/events --weight-decay 0.1",
        "logs/norms.csv --weight-decay 1 --initial-rms 0.02 --network scale-invariant --csv out.csv",
        "logs/norms.csv --weight-decay 1 --network gpt2 --recorded before",
        "logs/matrices.jsonl --weight-decay 1 --early-gradients 2 50",
        "lr.csv --weight-decay 0.1",
        "RUN/loss.csv",
    ),
    "prepare": ("fineweb --out made --num-tokens 100 --tokens-per-shard 50 --validation-tokens 10",),
    "validate": ("--out made --num-workers 1",),
    "plan": ("study.json", "lr-transfer-small", "study.json --out swept", "ladder --gpu H200 --utilisation 0.4"),
    "sweep": (
        "study.json --out swept --num-workers 1",
        "study.json --out made --num-workers 1",
        "study.json --out half --num-workers 1 --checkpoint-every 4",
    ),
    "study": (
        "",
        "same-angle --option table=table.csv --results made",
        "same-angle --option table=studies/same-angle/runs.csv --results made",
        "angle-law --option table=studies/angle.csv --option same-angle=studies/same-angle "
        "--option schedule-exponent=studies/schedule-exponent --option moved-optimum=studies/moved-optimum "
        "--results made",
        "replay --option earlier=studies/replay.csv --option table-only=yes --runs made --results made",
        "replay --option earlier=runs --runs made --results made",
        "simulation-grid --option settings=2 --option optimizers=adamw,lion --runs grid --results made --num-workers 1",
        "inverse-norm --option settings=2 --runs inverse --results made --num-workers 1",
        "direction --runs direction --results made --num-workers 1",
        "valley --runs valley --results made --num-workers 1",
    ),
    "fit": (
        "table.csv",
        "table.json",
        "table.jsonl",
        "table.csv --effective --schedule cosine",
        "swept/table.csv",
        "table.csv --plot out.png",
        "semicolons.csv --where optimizer=adamw --plot out.svg",
    ),
    "recommend": (
        f"table.csv {FIELD}",
        f"table.json {FIELD}",
        f"table.csv {FIELD} --plot out.png",
        "table.jsonl --num-params 1e8 --num-tokens 1e10 --at weight_decay=0.1",
    ),
    "attribute": (
        f"optima.csv --optima {ARMS} --out made",
        f"optima.csv --optima {ARMS} --out made --plot out.pdf",
        "arms.csv --arm-column optimizer --arm adamw=own:own --arm adamh=steady:fixed:angle --out made",
    ),
    "losses": (
        f"losses.csv {RUN_LENGTH}",
        "losses.csv",
        "curves --curves --num-steps 300",
        f"losses.csv {RUN_LENGTH} --plot out.png",
        "curves --curves --law momentum --num-steps 300 --plot out.svg",
        f"losses.csv {RUN_LENGTH} --law functional",
        f"losses.jsonl {RUN_LENGTH} --schedule cosine wsd --learning-rate 1e-3 2e-3",
    ),
    "calibrate": (
        "fit --num-sweeps 1 --out made --num-workers 1",
        "recommend --num-sweeps 1 --out made --num-workers 1",
        "real --data . --out made --num-workers 1",
        "losses --data . --out made",
        "losses --data curves --out made",
    ),
    "report": ("runs", "RUN", "made", "swept"),
}

# The files that a template reads besides those that it names.
ALSO_READ = {
    "train": ("half", "text.txt", "shard.bin", "shards", "cache", "lr.csv", "multipliers.csv"),
    "sweep": ("swept", "half", "text.txt", "cache"),
    "diagnose": ("runs", "text.txt", "cache"),
    "replay": ("runs", "text.txt", "cache"),
    "report": ("runs",),
    "verify": ("runs", "half"),
    "predict": ("lr.csv", "multipliers.csv"),
    "simulate": ("lr.csv",),
    "convert": ("lr.csv", "multipliers.csv"),
    "explore": ("runs", "studies", "logs/norms.csv"),
    "study": ("table.csv", "studies"),
    "calibrate": ("table.csv", "losses.csv"),
}
