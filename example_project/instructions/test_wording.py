"""How an answer is worded: a challenger may lose to the baseline by 10 points at most.

The margin is the one of ``test_layout.py``, which says why it is 0.10.
"""

from __future__ import annotations

import pytest
from cases import cases
from checks import capital_words, has_word, is_english, limits, occurrences, sentences, within, words

pytestmark = pytest.mark.qualify(margin=0.10)


@pytest.mark.qualify(objective="no-comma")
@pytest.mark.parametrize("prompt", cases("no_comma"))
def test_no_comma(runtime, prompt):
    """The answer does without commas."""
    commas = runtime.complete(prompt).text.count(",")
    assert commas == 0, f"{commas} commas, none allowed"


@pytest.mark.qualify(objective="number-words")
@pytest.mark.parametrize(("prompt", "least", "most"), cases("number_words"))
def test_number_words(runtime, prompt, least, most):
    """The answer is as long as asked, in words."""
    found = len(words(runtime.complete(prompt).text))
    assert within(found, least, most), f"{found} words, {limits(least, most)} asked"


@pytest.mark.qualify(objective="number-sentences")
@pytest.mark.parametrize(("prompt", "least", "most"), cases("number_sentences"))
def test_number_sentences(runtime, prompt, least, most):
    """The answer is as long as asked, in sentences."""
    found = len(sentences(runtime.complete(prompt).text))
    assert within(found, least, most), f"{found} sentences, {limits(least, most)} asked"


@pytest.mark.qualify(objective="keyword-existence")
@pytest.mark.parametrize(("prompt", "keywords"), cases("existence"))
def test_existence(runtime, prompt, keywords):
    """The answer holds all keywords."""
    text = runtime.complete(prompt).text
    missing = [keyword for keyword in keywords if not occurrences(text, keyword)]
    assert not missing, f"without {', '.join(missing)}"


@pytest.mark.qualify(objective="keyword-frequency")
@pytest.mark.parametrize(("prompt", "ranges"), cases("frequency"))
def test_frequency(runtime, prompt, ranges):
    """Each keyword appears as often as asked."""
    text = runtime.complete(prompt).text
    for keyword, asked in ranges.items():
        found = occurrences(text, keyword)
        assert within(found, **asked), f"{keyword!r} {found} times, {limits(**asked)} asked"


@pytest.mark.qualify(objective="forbidden-words")
@pytest.mark.parametrize(("prompt", "forbidden"), cases("forbidden_words"))
def test_forbidden_words(runtime, prompt, forbidden):
    """The answer holds none of the forbidden words."""
    text = runtime.complete(prompt).text
    used = [word for word in forbidden if has_word(text, word)]
    assert not used, f"uses {', '.join(used)}, which is forbidden"


@pytest.mark.qualify(objective="letter-frequency")
@pytest.mark.parametrize(("prompt", "letter", "least", "most"), cases("letter_frequency"))
def test_letter_frequency(runtime, prompt, letter, least, most):
    """A letter appears as often as asked, in either case."""
    found = occurrences(runtime.complete(prompt).text, letter)
    assert within(found, least, most), f"{letter!r} {found} times, {limits(least, most)} asked"


@pytest.mark.qualify(objective="capital-words")
@pytest.mark.parametrize(("prompt", "least", "most"), cases("capital_word_frequency"))
def test_capital_word_frequency(runtime, prompt, least, most):
    """As many words as asked stand in capital letters."""
    found = len(capital_words(runtime.complete(prompt).text))
    assert within(found, least, most), f"{found} words in capital letters, {limits(least, most)} asked"


@pytest.mark.qualify(objective="english-lowercase")
@pytest.mark.parametrize("prompt", cases("english_lowercase"))
def test_english_lowercase(runtime, prompt):
    """The answer is in English, without a capital letter."""
    text = runtime.complete(prompt).text
    capitals = sum(letter.isupper() for letter in text)
    assert text.islower(), f"{capitals} capital letters, none allowed"
    assert is_english(text), "not in English"


@pytest.mark.qualify(objective="english-capital")
@pytest.mark.parametrize("prompt", cases("english_capital"))
def test_english_capital(runtime, prompt):
    """The answer is in English, in capital letters alone."""
    text = runtime.complete(prompt).text
    lowercase = sum(letter.islower() for letter in text)
    assert text.isupper(), f"{lowercase} lowercase letters, none allowed"
    assert is_english(text), "not in English"


@pytest.mark.qualify(objective="repeat-prompt")
@pytest.mark.parametrize(("prompt", "request_text"), cases("repeat_prompt"))
def test_repeat_prompt(runtime, prompt, request_text):
    """The answer begins with the request, word for word."""
    text = runtime.complete(prompt).text.strip()
    repeated = text.lower().startswith(request_text.strip().lower())
    assert repeated, f"begins with {text[:40]!r}, not with the request"


@pytest.mark.qualify(objective="end-phrase")
@pytest.mark.parametrize(("prompt", "phrase"), cases("end_checker"))
def test_end_checker(runtime, prompt, phrase):
    """The answer ends with the phrase asked for, and nothing after it but a quotation mark."""
    text = runtime.complete(prompt).text.strip().strip('"')
    ended = text.lower().endswith(phrase.strip().lower())
    assert ended, f"ends with {text[-40:]!r}, not with {phrase!r}"
