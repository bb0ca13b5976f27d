# SPDX-License-Identifier: Apache-2.0
"""Every preference method from the same SFT model: one table, one picture.

Runs examples/01-sft.yaml to 06-simpo.yaml (what has finished already is not trained again) and writes
runs/comparison.png. First: `tadrib tiny-model models/tiny`.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from tadrib.ray_jobs.driver.launch import launch
from tadrib.training.config import load_spec
from tadrib.training.run.result import Result

EXAMPLES = Path(__file__).parent
SPECS = ["01-sft", "02-dpo", "03-ipo", "04-kto", "05-cpo", "06-simpo"]
ACCURACY, CHOSEN, REJECTED = "eval_rewards/accuracies", "eval_rewards/chosen", "eval_rewards/rejected"


def main() -> None:
    results = [launch(load_spec(EXAMPLES / f"{name}.yaml")) for name in SPECS][1:]
    Console().print(tabulate(results))
    picture = Path("runs/comparison.png")
    draw(results).savefig(picture, dpi=150)
    print(f"picture: {picture}")


def margin(metrics: dict[str, float]) -> float:
    """Mean reward of chosen answers above that of rejected ones."""
    return metrics[CHOSEN] - metrics[REJECTED]


def tabulate(results: list[Result]) -> Table:
    table = Table(title="held-out rows of each method's own data, before and after")
    for column in ("method", "accuracy", "margin", "tokens/s", "seconds", "peak memory of a worker"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for result in results:
        before, after = result.evaluation_before or {}, result.evaluation or {}
        table.add_row(
            result.method,
            f"{before[ACCURACY]:.2f} → {after[ACCURACY]:.2f}",
            f"{margin(before):.2f} → {margin(after):.2f}",
            f"{result.metrics['tokens_per_second']:,.0f}",
            f"{result.wall_seconds:.0f}",
            f"{result.metrics['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )
    return table


def draw(results: list[Result]) -> Figure:
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = {
        "Held-out preference accuracy (dots: before training)": lambda r: r.evaluation[ACCURACY],
        "Held-out reward margin": lambda r: margin(r.evaluation),
        "Training tokens per second": lambda r: r.metrics["tokens_per_second"],
        "Seconds, start-up included": lambda r: r.wall_seconds,
    }
    for axes, (title, value) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        bars = axes.bar([r.method for r in results], [value(r) for r in results], color="#2f6f8f")
        axes.bar_label(bars, fmt=lambda v: f"{v:,.0f}" if v >= 10 else f"{v:.2f}", padding=2)
        axes.set_title(title, loc="left", fontsize=11)
        axes.margins(y=0.15)
        axes.spines[["top", "right"]].set_visible(False)
    accuracy = figure.axes[0]
    accuracy.axhline(0.5, color="#888", linewidth=1, linestyle=":")
    for index, result in enumerate(results):
        accuracy.plot(index, (result.evaluation_before or {})[ACCURACY], "o", color="#d08a2e")
    accuracy.set_ylim(0, 1.2)
    return figure


if __name__ == "__main__":
    main()
