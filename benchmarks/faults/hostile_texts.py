"""YAML that is no list of scales."""

import numpy as np

LAUGHS = "a: &a [3, 3, 3, 3, 3, 3, 3, 3, 3]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = {
    "deep lists": "[" * 5000 + "3" + "]" * 5000,
    "deep tables": "{1.0: " * 3000 + "3" + "}" * 3000,
    "a day": "2020-01-01",
    "a day as time": "{2020-01-01: 3, 1.0: 5}",
    "no day": "2020-13-45",
    "a command": "!!python/object/apply:os.system ['touch canary']",
    "a billion laughs": LAUGHS,
    "not a number": "[3, .nan]",
    "a time of no number": "{.nan: 3, 1.0: 5}",
    "infinite": "[.inf]",
    "true": "[true]",
    "true as time": "{true: 3}",
    "huge": "[3, 99999999999999999999999999999999]",
    "many digits": "[" + "9" * 6000 + "]",
    "negative": "[-3]",
    "a list as scale": "{1.0: [3]}",
    "a list as time": "{[1]: 3}",
    "a table as time": "{? {a: 1} : 3}",
    "itself": "&a [*a]",
    "itself as table": "&a {1.0: *a}",
    "zero bytes": "\x00\x00",
    "latin-1": "\xff\xfe\xfd",
    "text": "'3,5'",
    "nothing": "",
    "null": "null",
    "documents": "--- [3]\n--- [5]\n",
    "a bad directive": "%TAG ! tag:x\n%YAML 99.9\n--- [3]",
    "tiny time": "{0.0000000001: 3, 1.0: 5}",
    "close times": "{0.999999: 3, 1.0: 5}",
    "text as time": "{'1.0': 3, 1.0: 5}",
    "sixties": "{1:30:00: 3}",
    "binary": "!!binary 'AAAA'",
    "a set": "!!set {3, 5}",
    "an unknown tag": "!scales [3]",
    "tabs": "\t- 3\n\t- 5\n",
    "no end": "[3, 5",
    "an anchor of nothing": "[*b]",
    "merging nothing": "{<<: 3, 1.0: 5}",
    "complex": "[3+4j]",
    "a surrogate": '["\\ud800"]',
    "emptiness": "[[], {}]",
}


def mangled(text: str, rng: np.random.Generator) -> str:
    """The text with some characters replaced by those that mean something in YAML."""
    letters = list(text)
    for _ in range(int(rng.integers(1, 8))):
        at = int(rng.integers(len(letters)))
        letters[at] = "[]{}:,&*!|>'\"%@`#?-\n\t0x."[int(rng.integers(26))]
    return "".join(letters)
