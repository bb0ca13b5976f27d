# SPDX-License-Identifier: Apache-2.0
"""Warnings when preference training goes wrong although its loss looks fine."""

from __future__ import annotations

from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tadrib.training.config.methods import PreferenceConfig
from tadrib.training.notices import warn

COLLAPSE_NATS = 1.0
"""Drop in the mean log-prob of chosen tokens since the start, in nats per token, that counts as a collapse if two logs
in a row show it. Each token is then e times less likely, while the loss may look as good as ever."""
CHANCE_LOGS = 5
"""Logs in a row with an accuracy at chance level before a warning."""


class PreferenceWatch(TrainerCallback):
    """Adds ``logps/chosen_drift`` to the logs (nats per token since the first log), and warns once of each problem.

    The drift is that of ``logps/chosen_per_token``. TRL's trainers do not log it; there it is ``logps/chosen`` divided
    by ``tokens_per_answer``, the mean over the data.
    """

    def __init__(self, config: PreferenceConfig, tokens_per_answer: float = 1.0) -> None:
        self.remedy = " or raise ".join(["Lower learning_rate", *config.steadied_by])
        self.start: float | None = None
        self.tokens_per_answer = tokens_per_answer
        self.fallen = self.at_chance = 0
        self.warned: set[str] = set()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        seen = [self._per_token(row) for row in state.log_history if "logps/chosen" in row]
        self.start = seen[0] if seen else None

    def first_of(self, trainer: Trainer) -> None:
        """Register before all other callbacks, so that those that forward logs see what is added here."""
        trainer.callback_handler.callbacks.insert(0, self)

    def _per_token(self, logs: dict[str, float]) -> float:
        return logs.get("logps/chosen_per_token", logs["logps/chosen"] / self.tokens_per_answer)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "logps/chosen" not in logs:
            return
        if self.start is None:
            self.start = self._per_token(logs)
        logs["logps/chosen_drift"] = drift = self._per_token(logs) - self.start
        state.log_history[-1]["logps/chosen_drift"] = drift
        self.fallen = self.fallen + 1 if drift < -COLLAPSE_NATS else 0
        if self.fallen == 2:
            self._warn(
                "collapse",
                f"step {state.global_step}: a token of the chosen answers is {-drift:.1f} nats less likely than at the "
                f"start; the model is unlearning what it should prefer. {self.remedy}.",
            )
        accuracy = logs.get("rewards/accuracies", 1.0)
        self.at_chance = self.at_chance + 1 if abs(accuracy - 0.5) < 0.05 else 0
        if self.at_chance == CHANCE_LOGS:
            self._warn(
                "chance",
                f"step {state.global_step}: preference accuracy is stuck at 0.5; the model is not learning. Check that "
                "chosen and rejected are not swapped or nearly identical, or raise learning_rate.",
            )

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self.warned:
            self.warned.add(kind)
            warn(text)
