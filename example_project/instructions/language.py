"""Which language a text is in: by its script, then by the small words that every sentence needs.

This knows the languages that the example's prompts ask for and a few neighbours that they could be taken
for. It is meant for answers of some length; a detector with trained profiles does better on a single line.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# Scripts as Unicode names them in the names of their letters; those that one language uses name it.
_BY_SCRIPT = {
    "BENGALI": "bn",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "KANNADA": "kn",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
}

_SMALL_WORDS = {
    "LATIN": {
        "de": "der die das und ist nicht ein eine zu den mit von für auf sie ich es wir dass auch im",
        "en": "the and of to a in is that it for you with on are this was be as your i my not have but we",
        "es": "el la los las de que y en un una es por con para no se su del al lo como",
        "fi": "ja on ei se että oli hän mutta kun niin ovat tai myös joka kuin ole sen mitä voi tämä",
        "fr": "le la les des et est un une que qui dans pour pas sur au ce il elle nous vous avec",
        "it": "il lo la gli di che e è un una per non con del della nella sono si come nel ma più senza",
        "pt": "o os as de que e do da em um uma para não com por é no na mais como dos",
        "sw": "ya na wa kwa ni za katika la kuwa hii cha yake kama lakini pia hiyo sana ili au hakuna",
        "vi": "và của là có không được cho một các với người những trong này để khi tôi bạn đã ở",
    },
    "CYRILLIC": {
        "bg": "и на за се от в е с не да са като със ще който това по си ли или към",
        "ru": "и в не на что с это как по для из от к у мы он она вы бы или их",
    },
    "ARABIC": {
        "ar": "في من على أن إلى هذا هذه التي الذي ما لا كان مع عن أو هو هي كل ذلك قد",
        "fa": "و در به از که این است را با برای آن یک می های تا خود بر شما هم ما",
        "ur": "کے کی میں ہے سے کا اور کو ہیں پر نے یہ کہ آپ بھی ہو ایک تو اس کر",
    },
    "DEVANAGARI": {
        "hi": "के का की है में और से को हैं पर ने यह कि एक नहीं भी था लिए हो जो",
        "mr": "आहे आणि मी तो ते या हे आहेत नाही च्या साठी ची चा होते होता झाला झाली मध्ये तर एक आपल्या केले",
        "ne": "छ र को मा लाई हुन्छ छन् पनि गर्न यो भने तर थियो हो गर्ने गरेको एक हामी तपाईं म",
    },
}

# Letters that among the languages of their script only one has: they decide where small words are rare.
_OWN_LETTERS = {"de": "ß", "es": "ñ¿¡", "mr": "ळ", "ru": "ыэё", "ur": "ٹڈڑںے"}


def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").split()[0]


def language_of(text: str) -> str | None:
    """Return the language of most of the text as its ISO 639-1 code, None when it cannot tell."""
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    if not scripts:
        return None
    script = scripts.most_common(1)[0][0]
    if script in _BY_SCRIPT:
        return _BY_SCRIPT[script]
    # Letters and the marks above and below them: \w alone would cut Devanagari words at their vowel signs.
    found = Counter(re.findall(r"(?:[^\W\d_]|[\u0900-\u0903\u093a-\u094f\u0962\u0963])+", text.lower()))
    scores = {
        language: sum(found[word] for word in small_words.split())
        + sum(text.lower().count(letter) for letter in _OWN_LETTERS.get(language, ""))
        for language, small_words in _SMALL_WORDS.get(script, {}).items()
    }
    best = max(scores, key=lambda language: scores[language], default=None)
    return best if best is not None and scores[best] else None
