# SPDX-License-Identifier: Apache-2.0
"""The facts that preference prompts ask about: opposites, colours, floors, opening hours, prices."""

from __future__ import annotations

from typing import NamedTuple

OPPOSITES = {
    "كبير": "صغير",
    "طويل": "قصير",
    "جديد": "قديم",
    "سريع": "بطيء",
    "سهل": "صعب",
    "قوي": "ضعيف",
    "غني": "فقير",
    "حار": "بارد",
    "قريب": "بعيد",
    "جميل": "قبيح",
    "ثقيل": "خفيف",
    "مفتوح": "مغلق",
    "كثير": "قليل",
    "واسع": "ضيق",
    "عميق": "ضحل",
    "جاف": "رطب",
    "حلو": "مر",
    "ذكي": "غبي",
    "شجاع": "جبان",
    "كريم": "بخيل",
    "صادق": "كاذب",
    "سعيد": "حزين",
    "مبكر": "متأخر",
    "ليل": "نهار",
    "شرق": "غرب",
    "شمال": "جنوب",
    "فوق": "تحت",
    "داخل": "خارج",
    "حرب": "سلام",
    "حياة": "موت",
    "صيف": "شتاء",
    "يمين": "يسار",
    "نور": "ظلام",
    "بداية": "نهاية",
    "نجاح": "فشل",
    "بيع": "شراء",
}


class Thing(NamedTuple):
    """Something of a well-known colour: Arabic with its article, English, colour, grammatical gender."""

    arabic: str
    english: str
    colour: str
    feminine: bool


COLOURS = {
    "أزرق": "blue",
    "أخضر": "green",
    "أبيض": "white",
    "أسود": "black",
    "أحمر": "red",
    "أصفر": "yellow",
    "برتقالي": "orange",
    "بني": "brown",
    "رمادي": "grey",
    "بنفسجي": "purple",
}

THINGS = (
    Thing("السماء", "the sky", "أزرق", True),
    Thing("البحر", "the sea", "أزرق", False),
    Thing("العشب", "grass", "أخضر", False),
    Thing("النعناع", "mint", "أخضر", False),
    Thing("الخيار", "cucumber", "أخضر", False),
    Thing("السبانخ", "spinach", "أخضر", False),
    Thing("الثلج", "snow", "أبيض", False),
    Thing("الحليب", "milk", "أبيض", False),
    Thing("القطن", "cotton", "أبيض", False),
    Thing("الملح", "salt", "أبيض", False),
    Thing("الأرز", "rice", "أبيض", False),
    Thing("الفحم", "coal", "أسود", False),
    Thing("الغراب", "the crow", "أسود", False),
    Thing("الليل", "the night", "أسود", False),
    Thing("الدم", "blood", "أحمر", False),
    Thing("الكرز", "the cherry", "أحمر", False),
    Thing("الفراولة", "the strawberry", "أحمر", True),
    Thing("الطماطم", "tomato", "أحمر", True),
    Thing("الموز", "the banana", "أصفر", False),
    Thing("الليمون", "the lemon", "أصفر", False),
    Thing("الشمس", "the sun", "أصفر", True),
    Thing("الذهب", "gold", "أصفر", False),
    Thing("الجزر", "the carrot", "برتقالي", False),
    Thing("القهوة", "coffee", "بني", True),
    Thing("الشوكولاتة", "chocolate", "بني", True),
    Thing("التراب", "soil", "بني", False),
    Thing("الفيل", "the elephant", "رمادي", False),
    Thing("الرماد", "ash", "رمادي", False),
    Thing("الباذنجان", "the aubergine", "بنفسجي", False),
    Thing("البنفسج", "the violet", "بنفسجي", False),
)

FLOORS = {
    "الصيدلية": "الأول",
    "المكتبة": "الثاني",
    "المطعم": "الثالث",
    "المقهى": "الأرضي",
    "المصلى": "الأول",
    "البنك": "الأرضي",
    "العيادة": "الثاني",
    "السينما": "الرابع",
    "المخبز": "الأرضي",
    "مكتب البريد": "الأول",
    "مكتب المدير": "الرابع",
    "قاعة الاجتماعات": "الثالث",
    "قاعة المحاضرات": "الثاني",
    "غرفة الأطفال": "الأول",
    "متجر الكتب": "الثالث",
    "متجر الملابس": "الثاني",
    "متجر الأحذية": "الأول",
    "متجر الهدايا": "الرابع",
    "محل الزهور": "الأرضي",
    "النادي الرياضي": "الرابع",
}


class Venue(NamedTuple):
    """A place with opening hours: name, gender, the hour it opens (morning) and closes (evening)."""

    name: str
    feminine: bool
    opens: int
    closes: int


VENUES = (
    Venue("المكتبة", True, 8, 9),
    Venue("المتحف", False, 9, 6),
    Venue("البنك", False, 8, 5),
    Venue("السوق", False, 6, 10),
    Venue("المسبح", False, 7, 8),
    Venue("الحديقة", True, 6, 11),
    Venue("الصيدلية", True, 7, 10),
    Venue("المطعم", False, 10, 11),
    Venue("المقهى", False, 7, 11),
    Venue("العيادة", True, 9, 7),
    Venue("السينما", True, 11, 10),
    Venue("المخبز", False, 6, 8),
    Venue("الجامعة", True, 8, 7),
    Venue("النادي", False, 9, 9),
    Venue("المعرض", False, 10, 8),
    Venue("المسرح", False, 11, 9),
    Venue("المصنع", False, 7, 6),
    Venue("مكتب البريد", False, 8, 6),
)

PRICES = {
    "القهوة": 3,
    "الشاي": 4,
    "العصير": 5,
    "الخبز": 6,
    "الفطيرة": 7,
    "الكعكة": 8,
    "الحساء": 9,
    "السلطة": 10,
    "الدفتر": 11,
    "القلم": 12,
    "المسطرة": 13,
    "المظلة": 15,
    "الكتاب": 18,
    "القاموس": 20,
    "القبعة": 25,
    "الوشاح": 30,
    "القميص": 35,
    "الحقيبة": 42,
    "الحذاء": 50,
    "المصباح": 56,
    "السجادة": 64,
    "الساعة": 70,
    "الدراجة": 90,
    "الهاتف": 99,
}
