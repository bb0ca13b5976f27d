# SPDX-License-Identifier: Apache-2.0
"""The six method configs: what each method adds to CommonConfig, and where its defaults differ."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tadrib.training.config import metrics
from tadrib.training.config.common import CommonConfig, Template
from tadrib.training.config.response_marks import ALPACA_RESPONSE
from tadrib.training.config.types import (
    Count,
    Flag,
    LearningRate,
    LocalPath,
    Location,
    NonNegative,
    Positive,
    Smoothing,
    Text,
)


class SFTConfig(CommonConfig):
    """Supervised fine-tuning: learn to write the response to an instruction."""

    method: ClassVar = "sft"
    facts: ClassVar = {"run.metrics": metrics.SFT}

    neftune_noise_alpha: Annotated[float, Field(gt=0, le=1_000)] | None = None
    """Noise on the embeddings in training (NEFTune, arXiv 2310.05914): uniform, up to `alpha / sqrt(length * size)` of
    each token's own sequence, packed or not; evaluation has none. Usual values are 5 to 15."""
    packing: Flag = True
    """Fill each sequence of `max_seq_length` tokens with several rows, which do not see one another."""
    instruction_template: Template = "auto"
    """How an instruction is written: a named template, `plain` (the text as it is), `tokenizer` (the chat template
    that comes with the tokenizer), or `auto`: `tokenizer` where the model has a chat template, else `alpaca`."""
    response_template: Text = ALPACA_RESPONSE
    """Text that comes right before the response in the `alpaca` template; what follows it is trained. A text of your
    own makes `instruction_template: auto` mean `alpaca`."""


class PreferenceConfig(CommonConfig):
    """What the methods that learn from judged answers share."""

    steadied_by: ClassVar[tuple[str, ...]] = ()
    """Settings that, raised, hold the chosen answers' likelihood up."""

    beta: Positive = 0.1
    """Scale of the rewards: log-probabilities, or their ratio to the reference, are multiplied by it."""
    max_prompt_length: Count = 256
    """Longest prompt, in tokens."""
    max_length: Count = 512
    """Longest prompt together with one completion, in tokens; `max_seq_length` is another name of it."""
    max_tokens_per_batch: Count | None = None
    """Tokens of one micro-batch, instead of `per_device_train_batch_size`: it is filled with whole groups, each
    a prompt with all its answers, up to this many. A bound on memory where rows have many answers. What a
    larger group means is said by `truncation`: the dataset is refused, or the row left out."""


class ReferencedConfig(PreferenceConfig):
    """What the methods that compare with a reference model share."""

    ref_model_name: Annotated[Location | None, LocalPath("model", "workers")] = None
    """Reference model: a Hub id or a directory, of an adapter too; null means the model that training starts from."""
    reference: Literal["auto", "adapter_off", "copy", "model", "cache"] = "auto"
    """Where reference log-probabilities come from: the trained model with its adapters off, a frozen copy,
    the model `ref_model_name`, or a cache that is computed once before training, of the rows it will use. `auto` is
    `adapter_off` with adapters, no other model and no row used twice, or with LoftQ; else `cache`."""


class DPOConfig(ReferencedConfig):
    """Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290)."""

    method: ClassVar = "dpo"
    facts: ClassVar = {"run.metrics": metrics.REFERENCED}
    steadied_by: ClassVar = ("beta", "sft_weight")

    learning_rate: LearningRate = 5e-7
    """Highest learning rate of the schedule."""
    num_train_epochs: Positive = 1.0
    """Passes over the training rows; may be a fraction. `max_steps` takes precedence."""
    loss_type: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """Loss on the margin: `sigmoid` is the paper's, `hinge` SLiC's (arXiv 2305.10425), `ipo` the squared loss
    of arXiv 2310.12036, `robust` the unbiased one under flipped labels (arXiv 2403.00409)."""
    label_smoothing: Smoothing = 0.0
    """Probability that a preference label is flipped, for `sigmoid` and `robust`."""
    sft_weight: NonNegative = 0.0
    """Weight of an added negative log-likelihood term on the chosen answer (RPO, arXiv 2404.19733); 0 adds
    none."""


class KTOConfig(ReferencedConfig):
    """Kahneman-Tversky Optimization (Ethayarajh et al. 2024, arXiv 2402.01306)."""

    method: ClassVar = "kto"
    facts: ClassVar = {"run.metrics": metrics.REFERENCED}
    steadied_by: ClassVar = ("beta",)

    learning_rate: LearningRate = 1e-6
    """Highest learning rate of the schedule."""
    desirable_weight: NonNegative = 1.0
    """Weight of the rows with `label: true`."""
    undesirable_weight: NonNegative = 1.0
    """Weight of the rows with `label: false`."""


class IPOConfig(ReferencedConfig):
    """Identity Preference Optimization (Azar et al. 2023, arXiv 2310.12036)."""

    method: ClassVar = "ipo"
    facts: ClassVar = {"run.metrics": metrics.REFERENCED}
    steadied_by: ClassVar = ("tau",)

    learning_rate: LearningRate = 5e-7
    """Highest learning rate of the schedule."""
    beta: Positive = 0.1
    """Another name of `tau`, as in TRL; the logged rewards are scaled by it."""
    tau: Positive = 0.1
    """Regularisation: the margin is pulled towards `1 / (2 tau)`."""
    label_smoothing: Smoothing = 0.0
    """Probability that a preference label is flipped."""
    length_normalization: Literal["tokens", "given", "none"] = "tokens"
    """What log-probabilities are divided by: the completion's tokens, the row's `chosen_length` and
    `rejected_length`, or nothing."""


class CPOConfig(PreferenceConfig):
    """Contrastive Preference Optimization (Xu et al. 2024, arXiv 2401.08417); takes many rejected answers."""

    method: ClassVar = "cpo"
    facts: ClassVar = {"run.metrics": metrics.CPO}
    steadied_by: ClassVar = ("cpo_alpha",)

    learning_rate: LearningRate = 5e-7
    """Highest learning rate of the schedule."""
    cpo_alpha: NonNegative = 1.0
    """Weight of the negative log-likelihood of the chosen answer."""
    simpo_gamma: NonNegative = 1.0
    """Margin that the chosen answer must win by, with `loss_type: simpo`."""
    loss_type: Literal["sigmoid", "hinge", "simpo"] = "sigmoid"
    """Loss on the margin: `sigmoid` is the paper's, `hinge` SLiC's (arXiv 2305.10425), `simpo` the
    length-normalised one with a margin (arXiv 2405.14734)."""
    hard_negative_weight: NonNegative = 1.0
    """Weight of the `hard_negatives` of a row; its `rejected` answers weigh 1."""
    multi_negative: Literal["pairwise", "softmax"] = "pairwise"
    """Several negatives: the mean of one term per pair, or one contrastive term over all candidates."""


class SimPOConfig(PreferenceConfig):
    """Simple Preference Optimization (Meng et al. 2024, arXiv 2405.14734); no reference,
    length-normalised."""

    method: ClassVar = "simpo"
    facts: ClassVar = {"run.metrics": metrics.PREFERENCE}

    learning_rate: LearningRate = 5e-7
    """Highest learning rate of the schedule."""
    beta: Positive = 2.0
    """Scale of the length-normalised reward."""
    simpo_gamma: NonNegative = 1.0
    """Margin that the chosen answer must win by."""
