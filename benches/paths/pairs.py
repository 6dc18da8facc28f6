#!/usr/bin/env python3
"""Makes src/paths/pairs.txt: how much likelier a letter is after another in words than by chance.

    benches/paths/pairs.py [DIRECTORY] > src/paths/pairs.txt        default: target/paths

From the texts and names of people that Faker has in languages of Latin letters, and from the words of
the APIs that rules are chosen by. `fetch.py` installs both. A row for each letter, and one for
the beginning of a word; bits, rounded, between -4 and 4, and 4 more.
"""

import importlib
import math
import re
import sys
from pathlib import Path

from fetch import ROOT

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BEGINNING = len(LETTERS)
TEXTS = "en_US la de_DE de_AT fr_FR nl_BE pl_PL cs_CZ it_IT es_ES pt_BR da_DK sv_SE tl_PH vi_VN az_AZ ro_RO uk_UA"
NAMES = "en_US de_DE fr_FR es_ES it_IT nl_NL pl_PL sv_SE pt_BR tr_TR fi_FI cs_CZ hr_HR hu_HU id_ID en_IN"
LISTS = ("first_names", "last_names", "first_names_male", "first_names_female")


def lists(directory):
    """Every list of words there is."""
    for kind, languages, names in [("lorem", TEXTS, ("word_list",)), ("person", NAMES, LISTS)]:
        for language in languages.split():
            try:
                module = importlib.import_module(f"faker.providers.{kind}.{language}")
            except ImportError:
                continue
            for name in names:
                yield getattr(module.Provider, name, ())
    yield (ROOT / "src" / "paths" / "words.txt").read_text().split()
    yield (directory / "vocabulary.txt").read_text().split()


def main():
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "target" / "paths")
    sys.path.insert(0, str(directory / "pypi"))
    words = {
        w.lower() for found in lists(directory) for w in found if re.fullmatch("[A-Za-z]{2,}", w)
    }
    counts = [[0.5] * len(LETTERS) for _ in range(BEGINNING + 1)]
    for word in words:
        before = BEGINNING
        for letter in map(LETTERS.index, word):
            counts[before][letter] += 1
            before = letter
    for row in counts:
        bits = (math.log2(count / sum(row) * len(LETTERS)) for count in row)
        print("".join(str(max(-4, min(4, round(b))) + 4) for b in bits))


if __name__ == "__main__":
    main()
