"""Text that people spell in different ways."""

import unicodedata
from functools import cache

from sqlmesh import SQL, macro
from sqlmesh.core.macros import MacroEvaluator


@macro()
def normalized(evaluator: MacroEvaluator, text: SQL) -> str:
    """`text` without case, accents and repeated white space: 'Québec', 'QUEBEC ' and 'que\u0301bec' become 'quebec'.

    White space and control characters of any kind become single spaces, none at either end. NULL remains NULL.
    Neither engine's collations are used: Snowflake's and DuckDB's differ. Plain ASCII, most of the text, skips
    TRANSLATE: DuckDB takes 50 µs to translate one name, because it builds the table of characters again for each.
    """
    return _normalized(text)


@macro()
def location_name(evaluator: MacroEvaluator, text: SQL) -> str:
    """The name of a location as the source spells it, without spaces around it; 'Unknown' if missing or blank."""
    # A visible ASCII character is in nearly every name, and spares TRANSLATE.
    named = f"CASE WHEN REGEXP_LIKE({text}, '.*[!-~].*') THEN TRUE ELSE {_normalized(text)} <> '' END"
    return f"IFF({named}, TRIM({text}, ' '), 'Unknown')"


def _normalized(text: SQL) -> str:
    characters, replacements = _translation()
    # Snowflake matches all of the text; the emulator of the tests matches a part of it without ^ and $.
    plain = f"REGEXP_LIKE({text}, '^[ -~]*$')"
    translated = f"TRANSLATE(LOWER({text}), '{characters}', '{replacements}')"
    # Control characters by their class: SQLGlot writes some as escapes that Snowflake reads as other characters.
    return f"TRIM(REGEXP_REPLACE(IFF({plain}, LOWER({text}), {translated}), '[[:space:][:cntrl:]]+', ' '), ' ')"


@cache
def _translation() -> tuple[str, str]:
    """Characters, and what replaces each. Those without a replacement, at the end, are deleted.

    Accents are those of Latin, Greek and Cyrillic letters: U+0300 to U+036F, if composed U+00C0 to U+1FFF.
    """
    letters = {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "\u0131": "i"}
    accents = set(map(chr, range(0x300, 0x370)))
    spaces = ""
    for character in map(chr, range(0x80, 0x3001)):
        decomposed = unicodedata.normalize("NFD", character)
        base, marks = decomposed[0], decomposed[1:]
        if unicodedata.category(character) in {"Cc", "Zs", "Zl", "Zp"}:
            spaces += character
        elif accents.issuperset(marks) and character not in accents and character == character.lower() != base:
            letters[character] = letters.get(base, base)
    deleted = "".join(sorted(accents)) + "\u200b\u200c\u200d\ufeff"
    return "".join(letters) + spaces + deleted, "".join(letters.values()) + " " * len(spaces)
