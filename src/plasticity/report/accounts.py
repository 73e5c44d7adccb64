"""The sections that give account: what it costs, and whether every seed finished."""

import pandas as pd

from plasticity.report import findings, numbers, outcomes, parts, theme
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.parts import MISSING, Section, Table


def cost(results: Results, summary: Summary) -> Section:
    """Return what the network and its training cost, next to the full network."""
    shares = _shares(results)
    ok = numbers.finished(results.seeds)
    rows = [
        ("units at the end", summary.final, summary.capacity),
        *_extracted(results.subnetworks),
        ("training FLOPs, masked units counted 0", parts.mean(ok["flops"]), MISSING),
        ("alive units summed over optimizer steps", parts.mean(ok["active_unit_steps"]), MISSING),
    ]
    latency = results.timing.get("extract", {}).get("latency_ms", {})
    for name, value in sorted(latency.items()):
        kind, _, batch = name.partition("_batch_")
        masked = latency.get(f"masked_batch_{batch}")
        if kind == "extracted" and masked is not None:
            images = "1 image" if batch == "1" else f"{batch} images"
            rows.append(
                (f"latency for {images}, ms", f"{value:.3g}", f"{masked:.3g}, units masked")
            )
    table = Table("Mean over seeds.", ("", "this network", "full network"), tuple(rows))
    return Section(
        "cost",
        "Cost",
        "What does it cost, and what is left?",
        findings.remains(shares),
        _equality(results.subnetworks),
        (outcomes.cost(shares, summary),),
        (table,),
    )


def _shares(results: Results) -> pd.DataFrame:
    ok = numbers.finished(results.seeds)
    last = results.history.sort_values("epoch").groupby("seed").tail(1)
    last = last[last["seed"].isin(ok["seed"])]
    capacity = sum(results.capacity.values())
    pairs = [("the units", last["alive_units"], float(capacity))]
    small = results.subnetworks[results.subnetworks["seed"].isin(ok["seed"])]
    if len(small):
        pairs += [
            ("the parameters", small["parameters"], small["full_parameters"].mean()),
            ("the forward FLOPs", small["forward_flops"], small["full_forward_flops"].mean()),
        ]
    pairs.append(
        (
            "the unit-steps that the full one would take",
            last["active_unit_steps"],
            (last["step"] * capacity).mean(),
        )
    )
    shares = [(name, float(part.mean()) * 100 / float(full)) for name, part, full in pairs]
    frame = pd.DataFrame(shares, columns=["name", "share"])
    return frame.assign(text=[f"{share:.0f} %" for share in frame["share"]])


def _extracted(small: pd.DataFrame) -> list[tuple[str, str, str]]:
    if small.empty:
        return []
    return [
        ("parameters", parts.mean(small["parameters"]), parts.mean(small["full_parameters"])),
        (
            "FLOPs of one image, forward",
            parts.mean(small["forward_flops"]),
            parts.mean(small["full_forward_flops"]),
        ),
    ]


def _equality(small: pd.DataFrame) -> tuple[str, ...]:
    if small.empty:
        return ("No network was extracted.",)
    same = int((small["same_predictions"] == 1).sum())
    worst = float(small["max_difference"].max())
    logits = f"differ by {worst:.1e} at most" if worst else "are the same to the last bit"
    return (
        f"Cut out of the full network, {same} of {len(small)} networks give the same class for "
        f"every test image; logits {logits}.",
    )


def seeds(results: Results, summary: Summary) -> Section:
    """Return every seed with its numbers, and who diverged."""
    if summary.diverged:
        names = [
            f"seed {seed}" + ("" if step is None else f" at step {step:,}")
            for seed, step in sorted(summary.diverged.items())
        ]
        finding = (
            f"{len(summary.diverged)} of {summary.total} seeds diverged: {theme.listed(names)}. "
            "They are outside every mean, which makes the means optimistic"
        )
    else:
        finding = (
            f"All {summary.total} seeds finished" if summary.total > 1 else "The seed finished"
        )
    variants = list(results.params.retrain.variants)
    rows = []
    for seed in results.seeds.sort_values("seed").to_dict("records"):
        step = seed["diverged_step"]
        status = "ok" if seed["status"] == "ok" else f"diverged at step {step}"
        accuracies = [parts.accuracy(seed[c]) for c in ("cycle_acc", "cycle_taa", "epoch_taa")]
        rows.append(
            (
                str(seed["seed"]),
                status,
                *accuracies,
                *(_ticket(results.tickets, variant, int(seed["seed"])) for variant in variants),
                str(seed["units"]),
                MISSING if pd.isna(seed["parameters"]) else theme.count(float(seed["parameters"])),
            )
        )
    controls = (variant.replace("_", " ") for variant in variants)
    head = ("seed", "status", "Cycle ACC", "Cycle TAA", "epoch TAA", *controls)
    table = Table(
        "Every seed. Accuracies in percent; the named columns are retrained networks.",
        (*head, "units", "parameters"),
        tuple(rows),
    )
    return Section(
        "seeds", "Seeds", "Did every seed finish?", finding, _notes(results), (), (table,)
    )


def _ticket(tickets: pd.DataFrame, variant: str, seed: int) -> str:
    row = tickets[(tickets["variant"] == variant) & (tickets["seed"] == seed)]
    if row.empty:
        return MISSING
    if row["status"].iloc[0] != "ok":
        return "diverged"
    return parts.accuracy(row["ticket_acc"].iloc[0])


def _notes(results: Results) -> tuple[str, ...]:
    """Return what else went wrong: controls that diverged, units that no gradient reaches."""
    lost = [
        f"{row[column].replace('_', ' ')}, seed {row['seed']}"
        for table, column in ((results.tickets, "variant"), (results.streams, "stream"))
        for row in table[table["status"] != "ok"].to_dict("records")
    ]
    notes = [f"Outside the means of controls and streams, because diverged: {'; '.join(lost)}."]
    ok = numbers.finished(results.seeds)["seed"]
    ends = results.cohorts[
        (results.cohorts["moment"] == "end")
        & results.cohorts["cohort"].isin(["newborn", "incumbent"])
        & results.cohorts["seed"].isin(ok)
    ]
    units = int(ends["units"].sum())
    share = float(ends["silent"].sum()) * 100 / max(units, 1)
    silent = [f"At the ends of cycles {share:.1f} % of the alive units had a gradient of zero."]
    return (*(notes if lost else ()), *(silent if units else ()))
