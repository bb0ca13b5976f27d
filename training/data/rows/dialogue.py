# SPDX-License-Identifier: Apache-2.0
"""A dialogue: one prompt and its answers, the common form of all methods' rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tadrib.training.data.rows.messages import Content, Message, common_start, fail, is_trained_on

_AGREE = "Make them agree, or let each answer begin with its assistant message."


@dataclass(frozen=True, slots=True)
class Answer:
    """``role`` is one of ``training.data.group.ROLES``."""

    role: str
    content: Content

    def texts(self) -> list[str]:
        return _texts(self.content)

    def trained_texts(self) -> list[str]:
        """The texts that are trained on: the assistant's."""
        if isinstance(self.content, str):
            return [self.content]
        return [message["content"] for message in self.content if is_trained_on(message)]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """``prompt`` and all answers are texts, or all are message lists whose concatenation is the conversation.

    ``input`` is SFT's optional second text of an instruction, ``label`` KTO's, ``lengths`` IPO's. ``tools`` are those
    that a conversation may call. ``part`` counts the parts of a document from 0: an answer without a prompt, which no
    template renders. It is None for everything else.
    """

    prompt: Content
    answers: tuple[Answer, ...]
    input: str = ""
    label: bool | None = None
    lengths: tuple[int, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    part: int | None = None

    @property
    def is_chat(self) -> bool:
        return isinstance(self.prompt, list)

    def prompt_texts(self) -> list[str]:
        return [*_texts(self.prompt), self.input] if self.input else _texts(self.prompt)

    def texts(self) -> list[str]:
        """Every text of the prompt and of the answers."""
        return [*self.prompt_texts(), *(text for answer in self.answers for text in answer.texts())]

    def map_texts(self, change: Callable[[str], str]) -> Dialogue:
        """The same dialogue with ``change`` applied to every text in it."""
        answers = tuple(Answer(a.role, _map(a.content, change)) for a in self.answers)
        return replace(self, prompt=_map(self.prompt, change), answers=answers, input=change(self.input))

    def all_texts(self) -> Iterator[str]:
        """Like ``texts``, with every other string in the messages, such as the arguments of a tool call."""
        yield from _strings([self.prompt, self.input, *(a.content for a in self.answers), *self.tools])

    def map_values(self, change: Callable[[Any], Any]) -> Dialogue:
        """The same dialogue with ``change`` applied to prompt, input, answers and tools, each as a whole."""
        answers = tuple(Answer(a.role, change(a.content)) for a in self.answers)
        tools = tuple(map(change, self.tools))
        return replace(
            self, prompt=change(self.prompt), answers=answers, input=change(self.input), tools=tools
        )


def _texts(content: Content) -> list[str]:
    return [content] if isinstance(content, str) else [message["content"] for message in content]


def _map(content: Content, change: Callable[[str], str]) -> Content:
    if isinstance(content, str):
        return change(content)
    return [message | {"content": change(message["content"])} for message in content]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def split_conversation(messages: list[Message], column: str) -> tuple[list[Message], list[Message]]:
    """Split a conversation before its first trained assistant turn, and end it after the last one.

    The conversation must end with an assistant turn. Untrained turns after the last trained one are dropped.
    """
    roles = [message["role"] for message in messages]
    if "assistant" not in roles:
        raise fail(
            "no_answer",
            column,
            "has no assistant message, so there is nothing to train on.",
            "Add the answer.",
        )
    if roles[0] == "assistant":
        message = "begins with an assistant message; expected a user or system message first."
        raise fail("no_prompt", column, message, "Add the user's message.")
    check_answer(messages[roles.index("assistant") :], column)
    trained = [index for index, message in enumerate(messages) if is_trained_on(message)]
    if not trained:
        message = "every assistant message has weight 0, so there is nothing to train on."
        raise fail("no_answer", column, message, "Remove the row.")
    return messages[: trained[0]], messages[trained[0] : trained[-1] + 1]


def check_answer(messages: list[Message], column: str) -> None:
    """Raise RowError unless an answer begins and ends with an assistant message."""
    for index, place in ((0, "begins"), (-1, "ends")):
        if messages[index]["role"] != "assistant":
            message = f"{place} with a {messages[index]['role']} message; expected an assistant message."
            raise fail("no_answer", column, message, "Add the assistant's message or remove the other.")


def align(prompt: Content | None, answers: Sequence[tuple[str, Content]]) -> tuple[Content, list[Content]]:
    """Bring ``prompt`` and the named ``answers`` to one form: all texts, or all message lists.

    Answers may be full conversations that repeat the prompt. Then their common beginning becomes the prompt, and must
    agree with ``prompt`` if that is given too.
    """
    contents = [content for _, content in answers]
    if isinstance(prompt, str) and all(isinstance(content, str) for content in contents):
        return prompt, contents
    chats = [[{"role": "assistant", "content": c}] if isinstance(c, str) else c for c in contents]
    repeats = [chat[0]["role"] != "assistant" for chat in chats]
    if all(repeats):
        opening = _shared_opening(prompt, chats)
        chats = [chat[len(opening) :] for chat in chats]
    elif prompt is None:
        raise fail("missing_column", "prompt", "the column is missing.", "Add the column 'prompt'.")
    else:
        opening = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    for (column, _), chat in zip(answers, chats, strict=True):
        check_answer(chat, column)
        if not all(is_trained_on(message) for message in chat if message["role"] == "assistant"):
            message = "has an assistant message with weight 0, which only SFT supports."
            raise fail("bad_weight", column, message, "Remove the weight.")
    return opening, list(chats)


def _shared_opening(prompt: Content | None, chats: list[list[Message]]) -> list[Message]:
    """The messages that all ``chats`` begin with, leaving at least one in each."""
    shared = min(common_start(chats), min(map(len, chats)) - 1)
    if isinstance(prompt, list):
        if shared < len(prompt) or chats[0][: len(prompt)] != prompt:
            raise fail("prompt_mismatch", "prompt", "the answers begin with different messages.", _AGREE)
        return prompt
    opening = chats[0][:shared]
    if not opening:
        message = "the answers are full conversations that do not begin with the same message."
        raise fail("prompt_mismatch", "prompt", message, "Pair answers to the same prompt.")
    asked = [message["content"].strip() for message in opening if message["role"] == "user"]
    if isinstance(prompt, str) and asked[-1:] != [prompt.strip()]:
        message = "is not the last user message that the answers have in common."
        raise fail("prompt_mismatch", "prompt", message, _AGREE)
    return opening
