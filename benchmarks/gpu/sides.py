# SPDX-License-Identifier: Apache-2.0
"""A part of the GPU check: methods against stock TRL, each side on the same rows, model and precision.

Speed is in tokens of the rows, where each sequence counts with its own prompt as TRL computes it, so that both sides
have the same number of them and what is computed once for several sequences counts as speed. ``mfu`` is of the same
tokens, by weights alone: neither attention scores, recomputation nor the reference's forward count.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from benchmarks import preference, sft
from benchmarks.gpu.sizes import Record, Sizes, attempt, free, peak_bytes
from benchmarks.material import build_model, lora_config

_CASES: dict[str, dict[str, Any]] = {
    "DPO, 256 / 128": {"method": "dpo", "prompt": 256, "answer": 128, "negatives": 1, "bar": 1.5},
    "SFT, packed": {
        "method": "sft",
        "prompt": 200,
        "response": 300,
        "packing": True,
        "lora": True,
        "bar": 1.1,
    },
    "KTO, 256 / 128": {"method": "kto", "prompt": 256, "answer": 128, "negatives": 1},
    "CPO, one chosen and 3 rejected, 256 / 96": {
        "method": "cpo",
        "prompt": 256,
        "answer": 96,
        "negatives": 3,
    },
}


def sides(sizes: Sizes) -> Iterator[Record]:
    common = {
        **sizes.peer,
        "rows": sizes.rows,
        "batch": min(8, sizes.rows // 2),
        "max_length": sizes.tokens,
        "dtype": sizes.dtype,
        "device": sizes.device,
        "checkpointing": False,
        "peer_attention": _flash_of_transformers(),
    }
    for name, case in _CASES.items():
        lengths: dict[str, Any] = {
            key: case[key] // sizes.shorter for key in ("prompt", "answer", "response") if key in case
        }
        given: dict[str, Any] = {**common, **case, **lengths}
        yield from attempt(name, lambda given=given: _compare(given))  # type: ignore[misc]


def _flash_of_transformers() -> str:
    """The fastest attention that TRL has here: flash kernels where a package of them is installed."""
    for package, name in (("flash_attn_interface", "flash_attention_3"), ("flash_attn", "flash_attention_2")):
        if importlib.util.find_spec(package) is not None:
            return name
    return "sdpa"


def _compare(case: dict[str, Any]) -> Record:
    module: Any = sft if case["method"] == "sft" else preference
    tokens, flops = _tokens(case), _flops(case)
    found: Record = {"TRL attention": case["peer_attention"]}
    seconds = {}
    for side, run in (("ours", module.run_ours), ("TRL", module.run_trl)):
        free()
        seconds[side] = run(case)
        found |= {f"{side} tokens_per_second": tokens / seconds[side], f"{side} peak_bytes": peak_bytes()}
        if (share := _share_of_peak(tokens * flops / seconds[side])) is not None:
            found[f"{side} mfu"] = share
    ratio = seconds["TRL"] / seconds["ours"]
    bar = case.get("bar") if case["device"] == "cuda" else None
    return {"ratio": ratio, **found, **({} if bar is None else {"bar": bar, "met": ratio >= bar})}


def _tokens(case: dict[str, Any]) -> int:
    if case["method"] == "sft":
        return sum(len(prompt) + len(response) for prompt, response in sft.draw_rows(case))
    return sum(
        len(prompt) + len(answer)
        for prompt, answers in preference.draw_rows(case)
        for answer in (answers if case["method"] == "kto" else _pairs(answers))
    )


def _pairs(answers: list[list[int]]) -> list[list[int]]:
    """The sequences of TRL, whose rows are pairs: the chosen answer with each rejected one."""
    return [each for rejected in answers[1:] for each in (answers[0], rejected)]


def _flops(case: dict[str, Any]) -> float:
    from peft import get_peft_model

    from tadrib.training.loop.utilization import flops_per_token

    return flops_per_token(get_peft_model(build_model({**case, "device": "meta"}, "sdpa"), lora_config()))


def _share_of_peak(flops_per_second: float) -> float | None:
    """None for a GPU whose peak is not known, and on a CPU."""
    from tadrib.training.loop.utilization import utilization

    return utilization(1.0, flops_per_second, 1)
