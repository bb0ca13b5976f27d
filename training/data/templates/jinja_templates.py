# SPDX-License-Identifier: Apache-2.0
"""Our templates in Jinja, for a tokenizer's ``chat_template`` that `transformers` and servers read.

https://huggingface.co/docs/transformers/chat_templating: the inputs are ``messages`` and ``add_generation_prompt``; the
output is text to be tokenized without adding special tokens.
"""

from __future__ import annotations

import json

from tadrib.training.data.templates.chat_formats import ChatFormat
from tadrib.training.data.templates.text_templates import Alpaca, Plain

_TOOLS = (
    "{%- if tools %}{{- raise_exception('this model was trained on a format without tools') }}{% endif %}"
)
_ONE_TURN = (
    "{%- if messages | length > 2 or messages[0]['role'] != 'user' or "
    "(messages | length == 2 and messages[1]['role'] != 'assistant') %}"
    "{{- raise_exception('this model was trained on single instructions: give one user message') }}{% endif %}"
)
_CALLS = (
    "{%- if message['role'] == 'tool' or message['tool_calls'] %}"
    "{{- raise_exception('this model was trained on a format without tool calls') }}{% endif %}"
)


def as_jinja(template: ChatFormat | Alpaca | Plain, lead: str, eos: str) -> str:
    """``template`` in Jinja. ``lead`` precedes every prompt, such as a BOS token; ``eos`` ends the answers of templates
    without an end of turn."""
    if isinstance(template, ChatFormat):
        return _chat(template, lead)
    before, after = ("", "") if isinstance(template, Plain) else template.around_instruction
    answer = "{%- if messages | length == 2 %}{{- messages[1]['content'] + " + _text(eos) + " }}{% endif %}"
    return f"{_TOOLS}{_ONE_TURN}{_put(lead + before)}{{{{- messages[0]['content'] }}}}{_put(after)}{answer}"


def _chat(chat: ChatFormat, lead: str) -> str:
    content = "message['content']" + (" | trim" if chat.trims else "")
    system_goes_first = skipped = ""
    if chat.system_in_user:
        opens = "messages[0]['role'] == 'system' and messages | length > 1 and messages[1]['role'] == 'user'"
        system_goes_first = (
            f"{{%- if loop.index0 == 1 and {opens} %}}"
            "{%- set content = (messages[0]['content'] + '\\n\\n' + content) | trim %}{% endif %}"
        )
        skipped = f" if not (loop.first and {opens})"
    names = dict(chat.role_names)
    if chat.system_in_user:
        names["system"] = "user"
    role = f"{json.dumps(names)}.get(message['role'], message['role'])" if names else "message['role']"
    start, role_end, end = map(_text, (chat.start, chat.role_end, chat.end + chat.after))
    turn = f"{{{{- {start} + {role} + {role_end} + content + {end} }}}}"
    if skipped:
        turn = f"{{%- {skipped.strip()} %}}{turn}{{%- endif %}}"
    header = chat.start + chat.role_names.get("assistant", "assistant") + chat.role_end
    return (
        f"{_TOOLS}{_put(lead)}{{%- for message in messages %}}{_CALLS}{{%- set content = {content} %}}"
        f"{system_goes_first}{turn}{{%- endfor %}}"
        f"{{%- if add_generation_prompt %}}{_put(header)}{{%- endif %}}"
    )


def _put(text: str) -> str:
    return f"{{{{- {_text(text)} }}}}" if text else ""


def _text(text: str) -> str:
    """A Jinja string literal; JSON's syntax is valid Jinja."""
    return json.dumps(text, ensure_ascii=False)
