# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one self-contained page that shows how a run went, with its plots inline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from tadrib.training.config.metrics import PER_SOURCE
from tadrib.training.files.atomic_file import write_atomically
from tadrib.training.files.regular_file import read_own
from tadrib.training.run.directory import RunDirectory
from tadrib.training.run.names import REPORT
from tadrib.training.run.pictures import pictures
from tadrib.training.run.result import Result

_PAGE = jinja2.Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ result.name }}</title>
<style>
 body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
 h1 { margin: 0 } .status { font-weight: 600 } .succeeded { color: #17734a } .failed { color: #b3261e }
 table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem 1.2rem .2rem 0; text-align: left }
 .warnings { background: #fff6db; padding: .6rem 1rem .6rem 2rem }
 td.n { text-align: right; font-variant-numeric: tabular-nums }
 .panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(28rem, 1fr)); gap: 1rem }
 figure { margin: 0 } figcaption { color: #b3261e }
 svg { width: 100%; height: auto } pre { background: #f4f5f7; padding: 1rem; overflow: auto }
</style></head><body>
<h1>{{ result.name }}</h1>
<p><span class="status {{ result.status }}">{{ result.status }}</span>: {{ result.method }}, step
{{ result.steps_done }} of {{ result.steps_planned or "?" }}, {{ "{:,}".format(result.tokens) }} tokens,
{{ result.num_workers }} worker{{ "s" if result.num_workers != 1 }}, {{ "%.0f"|format(result.wall_seconds) }} s.</p>
{% if result.start %}<p>Started from {{ result.start }}.</p>{% endif %}
{% if result.path %}<p>Attention: {{ result.path }}.</p>{% endif %}
{% if result.error %}<pre>{{ result.error.kind }}: {{ result.error.message }}</pre>{% endif %}
{% if result.warnings %}<h2>Warnings</h2><ul class="warnings">
{% for warning in result.warnings %}<li>{{ warning }}</li>
{% endfor %}</ul>{% endif %}
{% if evaluation %}<table><tr><th>held-out rows</th><th>before</th><th>after</th></tr>
{% for name, before, after in evaluation %}<tr><td>{{ name }}</td><td class="n">{{ before }}</td>
<td class="n">{{ after }}</td></tr>
{% endfor %}</table>{% endif %}
{% if result.sources %}<table><tr><th>dataset</th><th>rows</th><th>in an epoch</th><th>share</th><th>held out</th>
{% for name in source_metrics %}<th>{{ name }}</th>{% endfor %}</tr>
{% for source, share, changes in sources %}<tr><td>{{ source.name }}</td>
<td class="n">{{ "{:,}".format(source.rows) }}</td><td class="n">{{ "{:,}".format(source.epoch_rows) }}</td>
<td class="n">{{ "%.1f%%"|format(100 * share) }}</td><td class="n">{{ "{:,}".format(source.eval_rows or 0) }}</td>
{% for change in changes %}<td class="n">{{ change }}</td>{% endfor %}</tr>
{% endfor %}</table>{% endif %}
<div class="panels">{% for picture in pictures %}<figure>{{ picture.svg|safe }}
{% if picture.notes %}<figcaption>{{ picture.title }}: {{ picture.notes|join("; ") }}</figcaption>{% endif %}</figure>
{% endfor %}</div>
<h2>Spec</h2><pre>{{ spec }}</pre>
<p>{% for name, version in result.versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}</p>
</body></html>
""",
    autoescape=True,
)


def write_report(run: RunDirectory, result: Result) -> Path:
    """Write ``report.html`` with plots of ``run``'s metrics to the run directory; returns its path."""
    spec = (read_own(run.spec_file) or b"").decode("utf-8", errors="replace")
    drawn = list(pictures(run.metrics.read(), [source.name for source in result.sources]))
    page = _PAGE.render(
        result=result, pictures=drawn, spec=spec, evaluation=_evaluation(result), **_of_sources(result)
    )
    path = run.path / REPORT
    write_atomically(path, page)
    return path


def _evaluation(result: Result) -> list[tuple[str, str, str]]:
    before, after = result.evaluation_before or {}, result.evaluation or {}
    of_sources = {f"eval_{source.name}_{name}" for source in result.sources for name in PER_SOURCE}
    names = [name for name in (after or before) if name != "eval_tokens" and name not in of_sources]
    return [(n.removeprefix("eval_"), _number(before.get(n)), _number(after.get(n))) for n in names]


def _of_sources(result: Result) -> dict[str, Any]:
    """A row of the page for each of several datasets: its counts, share of an epoch, and metrics before and after."""
    total = sum(source.epoch_rows for source in result.sources) or 1
    found = [
        (source, source.evaluation(result.evaluation_before), source.evaluation(result.evaluation))
        for source in result.sources
    ]
    names = [name for name in PER_SOURCE if any(name in {**before, **after} for _, before, after in found)]
    rows = [
        (source, source.epoch_rows / total, [_change(before.get(n), after.get(n)) for n in names])
        for source, before, after in found
    ]
    return {"source_metrics": names, "sources": rows}


def _change(before: float | None, after: float | None) -> str:
    return " → ".join(filter(None, (_number(before), _number(after))))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g}"
