# SPDX-License-Identifier: Apache-2.0
"""Choose the template of a dialogue by ``instruction_template``, and convert it to Jinja for inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tadrib.training.config import CommonConfig, SFTConfig
from tadrib.training.config.response_marks import ALPACA_RESPONSE, RESPONSE_MARKS
from tadrib.training.data.rows.dialogue import Dialogue
from tadrib.training.data.rows.segments import Template
from tadrib.training.data.templates.bos import Beginning
from tadrib.training.data.templates.chat_formats import CHAT_FORMATS, ChatFormat
from tadrib.training.data.templates.jinja_templates import as_jinja
from tadrib.training.data.templates.text_templates import Alpaca, Document, Plain
from tadrib.training.data.templates.tokenizer_template import TokenizerTemplate
from tadrib.training.errors import Problem, SpecError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_KEY = "instruction_template"


class Templates:
    """Chooses the template of each dialogue: the configured one, or the tokenizer's chat template for conversations,
    which ``alpaca`` and ``plain`` do not support."""

    def __init__(self, config: CommonConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._configured = self._build(config)
        self._for_chats: Template | None = None

    def of(self, dialogue: Dialogue) -> Template:
        """The template for ``dialogue``.

        Raises:
            SpecError: it is a conversation, which the configured template does not support, and the tokenizer has no
                chat template.
        """
        if dialogue.part is not None:
            return Document()
        if not dialogue.is_chat or not self._configured.adds_eos:
            return self._configured
        if self._for_chats is None:
            self._for_chats = self._tokenizer_template(
                f"the data are conversations, which {self._configured.name} does not support, and"
            )
        return self._for_chats

    @property
    def configured(self) -> Template:
        """The template for everything it supports."""
        return self._configured

    def _build(self, config: CommonConfig) -> Template:
        name = config.instruction_template
        response = getattr(config, "response_template", ALPACA_RESPONSE)
        if name == "auto":
            return self._by_default(config, response)
        if name == "alpaca":
            return Alpaca(response)
        if name == "plain":
            return Plain()
        if name == "tokenizer":
            return self._tokenizer_template("")
        self._require_tokens(CHAT_FORMATS[name])
        return CHAT_FORMATS[name]

    def _by_default(self, config: CommonConfig, response: str) -> Template:
        """The model's own chat template if it has one; otherwise alpaca for SFT and plain for other methods. A custom
        ``response_template`` selects alpaca."""
        ours: list[Alpaca | Plain | ChatFormat] = [Alpaca(response), Plain(), *CHAT_FORMATS.values()]
        if response not in (ALPACA_RESPONSE, *RESPONSE_MARKS.values()):
            return ours[0]
        if self._tokenizer.chat_template:
            own = self._tokenizer.chat_template
            return next(
                (t for t in ours if jinja_of(t, self._tokenizer) == own), TokenizerTemplate(self._tokenizer)
            )
        return Alpaca(ALPACA_RESPONSE) if isinstance(config, SFTConfig) else Plain()

    def _tokenizer_template(self, reason: str) -> Template:
        if self._tokenizer.chat_template:
            return TokenizerTemplate(self._tokenizer)
        message = f"{reason} the tokenizer of {self._tokenizer.name_or_path} has no chat template.".strip()
        action = f"Set {_KEY} to the format the model was trained with: {', '.join(CHAT_FORMATS)}."
        raise SpecError(_KEY, [Problem(_KEY, message, action)])

    def _require_tokens(self, chat: ChatFormat) -> None:
        encoded = self._tokenizer(chat.control_tokens, add_special_tokens=False)["input_ids"]
        absent = [token for token, ids in zip(chat.control_tokens, encoded, strict=True) if len(ids) != 1]
        if absent:
            message = (
                f"{chat.name} needs {', '.join(absent)} as single tokens, which the tokenizer does not have."
            )
            action = "Set it to tokenizer, alpaca or plain, or to the format of this model."
            raise SpecError(_KEY, [Problem(_KEY, message, action)])


def jinja_of(template: Alpaca | Plain | ChatFormat, tokenizer: PreTrainedTokenizerBase) -> str:
    """``template`` as a Jinja chat template for ``tokenizer`` that reproduces the token ids of training."""
    lead, _ = Beginning(tokenizer).split(template, "")
    before = "".join(tokenizer.convert_ids_to_tokens(lead))
    prompt = template.prompt(Dialogue("a", ()))
    trained = lead + tokenizer(prompt, add_special_tokens=False)["input_ids"]
    # SentencePiece tokenizers that add a space at the start of a text do not add it after a BOS token
    spaced = tokenizer(f"{before} {prompt}", add_special_tokens=False)["input_ids"]
    at_once = tokenizer(before + prompt, add_special_tokens=False)["input_ids"]
    if before and spaced == trained != at_once:
        before += " "
    return as_jinja(template, before, str(tokenizer.eos_token))
