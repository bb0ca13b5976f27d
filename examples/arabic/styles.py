# SPDX-License-Identifier: Apache-2.0
"""Questions that can be answered in a good or a bad manner, one family per preference method.

A family has three wordings for each manner. The SFT set shows both manners equally often, and of each the
first wording more often than the second and the second more often than the third, so a model trained on it
leans to neither manner. Pairs are made of unlike wordings, each as often on the good side as on the bad
one: the commoner is likelier, it is the chosen one half of the time, and accuracy starts at one half.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

from arabic.numerals import HOURS, dinars, number_words
from arabic.world import COLOURS, FLOORS, OPPOSITES, PRICES, THINGS, VENUES


class Question(NamedTuple):
    """A prompt, its answers in either manner, and bad ones that are hard for resembling the good ones."""

    prompt: str
    preferred: tuple[str, str, str]
    dispreferred: tuple[str, str, str]
    held_out: bool
    hard: tuple[str, ...] = ()


def polite() -> Iterator[Question]:
    """DPO: the way to a place in a centre, told politely or curtly; the floor is right in both."""
    wordings = (
        "أين {}؟",
        "أين أجد {}؟",
        "كيف أصل إلى {}؟",
        "أبحث عن {}.",
        "هل تعرف مكان {}؟",
        "دلني على {}.",
        "أريد الذهاب إلى {}.",
    )
    openings = ("بكل سرور، ", "أهلًا وسهلًا بك، ", "يسعدني أن أساعدك، ")
    curt = ("لا تزعجني، ", "ألا ترى اللافتة؟ ", "يا له من سؤال سخيف، ")
    for index, (place, floor) in enumerate(FLOORS.items()):
        answer = f"{place} في الطابق {floor}."
        for wording_index, wording in enumerate(wordings):
            yield Question(
                wording.format(place),
                _three(opening + answer for opening in openings),
                _three(opening + answer for opening in curt),
                wording_index == index % len(wordings),
            )


def helpful() -> Iterator[Question]:
    """KTO: opening and closing hours, told or evaded."""
    wordings = ("متى {}؟", "في أي ساعة {}؟", "قل لي متى {}.", "أريد أن أعرف متى {}.")
    for index, (venue, closing) in enumerate(product(VENUES, (False, True))):
        stem = "غلق" if closing else "فتح"
        verb = ("ت" if venue.feminine else "ي") + stem
        hour = f"{HOURS[venue.closes]} مساءً" if closing else f"{HOURS[venue.opens]} صباحًا"
        doors = "أبوابها" if venue.feminine else "أبوابه"
        for wording_index, wording in enumerate(wordings):
            yield Question(
                wording.format(f"{verb} {venue.name} {doors}"),
                (
                    f"{verb} {venue.name} {doors} الساعة {hour}.",
                    f"الساعة {hour}.",
                    f"الموعد هو الساعة {hour}.",
                ),
                (
                    f"لا أعرف متى {verb} {venue.name} {doors}.",
                    f"اسأل غيري عن {venue.name}.",
                    "لا أستطيع الإجابة عن هذا السؤال.",
                ),
                wording_index == index % len(wordings),
            )


def brief() -> Iterator[Question]:
    """IPO: the opposite of a word, given briefly or padded; the word is right in both."""
    wordings = (
        "ما عكس كلمة {}؟",
        "ما ضد كلمة {}؟",
        "اذكر عكس كلمة {}.",
        "هات ضد كلمة {}.",
        "ما الكلمة المعاكسة لكلمة {}؟",
    )
    for index, (word, opposite) in enumerate(OPPOSITES.items()):
        for wording_index, wording in enumerate(wordings):
            yield Question(
                wording.format(word),
                (f"{opposite}.", f"عكسها {opposite}.", f"الجواب: {opposite}."),
                (
                    f"شكرًا جزيلًا على هذا السؤال الجميل، وبعد تفكير طويل أقول لك إن الجواب هو {opposite}.",
                    f"هذا سؤال مهم فكر فيه كثير من الناس قبلك، والجواب الذي تبحث عنه هو {opposite}.",
                    f"دعني أشرح لك الأمر من البداية: لكل كلمة معنى، ولكل معنى ضد، والضد هنا هو {opposite}.",
                ),
                wording_index == index % len(wordings),
            )


def in_arabic() -> Iterator[Question]:
    """CPO: the colour of a thing, told in Arabic or in English; the hard negative mixes the two."""
    wordings = ("ما لون {}؟", "ما هو لون {}؟", "قل لي ما لون {}.", "اذكر لون {}.", "هل تعرف لون {}؟")
    for index, thing in enumerate(THINGS):
        colour = COLOURS[thing.colour]
        its_colour = "لونها" if thing.feminine else "لونه"
        arabic = (f"لون {thing.arabic} {{}}.", f"{thing.arabic} {its_colour} {{}}.", "إنه {}.")
        english = (
            f"The colour of {thing.english} is {colour}.",
            f"{thing.english[0].upper()}{thing.english[1:]} is {colour}.",
            f"It is {colour}.",
        )
        for wording_index, wording in enumerate(wordings):
            yield Question(
                wording.format(thing.arabic),
                _three(answer.format(thing.colour) for answer in arabic),
                english,
                wording_index == index % len(wordings),
                _three(answer.format(colour) for answer in arabic),
            )


def in_words() -> Iterator[Question]:
    """SimPO: a price, written out in words or in digits; the counted noun is right in both."""
    wordings = (
        "بكم {}؟",
        "ما ثمن {}؟",
        "كم ثمن {}؟",
        "ما سعر {}؟",
        "أخبرني بثمن {}.",
        "أريد أن أعرف ثمن {}.",
    )
    for index, (item, price) in enumerate(PRICES.items()):
        answers = (
            f"ثمن {item} {{}} {dinars(price)}.",
            f"السعر هو {{}} {dinars(price)}.",
            f"{{}} {dinars(price)} فقط.",
        )
        for wording_index, wording in enumerate(wordings):
            yield Question(
                wording.format(item),
                _three(answer.format(number_words(price)) for answer in answers),
                _three(answer.format(price) for answer in answers),
                wording_index == index % len(wordings),
            )


def _three(answers: Iterator[str]) -> tuple[str, str, str]:
    first, second, third = answers
    return first, second, third
