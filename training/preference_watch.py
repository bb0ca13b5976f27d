# SPDX-License-Identifier: Apache-2.0
"""Plain-words warnings when preference training goes wrong while its loss looks fine."""

from __future__ import annotations

import logging

from transformers import TrainerCallback

logger = logging.getLogger("tadrib")

COLLAPSE_NATS = 20.0
"""Fall of the chosen answers' mean log-prob since the start, in nats an answer, that is called a collapse."""
CHANCE_LOGS = 5
"""Logged means in a row with an accuracy at chance before that is said."""


class PreferenceWatch(TrainerCallback):
    """Adds ``logps/chosen_drift`` and ``rewards/margins`` where missing to the logs, and warns once of each trouble."""

    def __init__(self) -> None:
        self.start: float | None = None
        self.at_chance = 0
        self.warned: set[str] = set()

    def on_train_begin(self, args, state, control, **kwargs):
        seen = [row["logps/chosen"] for row in state.log_history if "logps/chosen" in row]
        self.start = seen[0] if seen else None

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not logs or "logps/chosen" not in logs:
            return
        if self.start is None:
            self.start = logs["logps/chosen"]
        logs["logps/chosen_drift"] = drift = logs["logps/chosen"] - self.start
        state.log_history[-1]["logps/chosen_drift"] = drift
        if drift < -COLLAPSE_NATS:
            self._warn(
                "collapse",
                f"step {state.global_step}: chosen answers are {-drift:.0f} nats less likely than at the start; the "
                "model is unlearning what it should prefer. Lower learning_rate, raise beta, or add sft_weight (DPO) "
                "or cpo_alpha (CPO).",
            )
        accuracy = logs.get("rewards/accuracies", 1.0)
        self.at_chance = self.at_chance + 1 if abs(accuracy - 0.5) < 0.05 else 0
        if self.at_chance == CHANCE_LOGS:
            self._warn(
                "chance",
                f"step {state.global_step}: preference accuracy has stayed at 0.5; nothing is being learnt. Check that "
                "chosen and rejected are not swapped or alike, or raise learning_rate.",
            )

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            logger.warning("%s", text)
