# SPDX-License-Identifier: Apache-2.0
"""Write docs/api/*.md from signatures and docstrings; `--check` exits with 1 when a page is out of date."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

from tools.generated import write_or_check

PAGES = {
    "base_trainer": ("tadrib.training.base_trainer", ("BaseTrainer",)),
    "sft_trainer": ("tadrib.training.sft_trainer", ("SFTTrainer", "create_sft_trainer")),
    "dpo_trainer": ("tadrib.training.dpo_trainer", ("DPOTrainer", "create_dpo_trainer")),
    "preference_trainer": (
        "tadrib.training.preference_trainer",
        (
            *("PreferenceTrainer", "KTOTrainer", "IPOTrainer", "CPOTrainer", "SimPOTrainer"),
            *("create_kto_trainer", "create_ipo_trainer", "create_cpo_trainer", "create_simpo_trainer"),
        ),
    ),
    "losses": ("tadrib.training.losses", ("sft", "dpo", "ipo", "kto", "cpo", "simpo")),
}
FOLDER = Path(__file__).parents[1] / "docs" / "api"


def page(module_name: str, names: tuple[str, ...]) -> str:
    module = importlib.import_module(module_name)
    parts = [f"# `{module_name}`", (module.__doc__ or "").strip()]
    for name in names:
        if module_name == "tadrib.training.losses":
            member = importlib.import_module(f"{module_name}.{name}")
            parts += describe(getattr(member, f"{name}_loss"), "##")
        else:
            parts += describe(getattr(module, name), "##")
    return "\n\n".join(part for part in parts if part) + "\n"


def describe(thing, heading: str) -> list[str]:
    """Signature and docstring, and those of a class's own public methods."""
    signature = str(inspect.signature(thing)).replace("'", "")
    parts = [f"{heading} `{thing.__name__}`", f"```python\n{thing.__name__}{signature}\n```", doc(thing)]
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            if inspect.isfunction(member) and not name.startswith("_") and member.__doc__:
                parts += describe(member, f"{heading}#")
    return parts


def doc(thing) -> str:
    return inspect.cleandoc(thing.__doc__ or "").replace("``", "`")


def main() -> int:
    files = {FOLDER / f"{name}.md": page(module, members) for name, (module, members) in PAGES.items()}
    return write_or_check(files, check="--check" in sys.argv, command="python -m tools.api_pages")


if __name__ == "__main__":
    sys.exit(main())
