"""Mutations of files, for fuzzing tests.

`FUZZ_MUTATIONS` in the environment sets the number of mutations of each file.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
from pathlib import Path
from typing import Any, Callable

from albert_tf.io.errors import InputError

COUNT = int(os.environ.get("FUZZ_MUTATIONS", "60"))
MANY = 5 * COUNT  # for readers that take about a millisecond
_ODD_BYTES = (b"", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\t", b"9" * 30, b"[" * 10_000)
_ODD_NUMBERS = (b"-1", b"0", b"2147483648", b"9" * 30, b"9" * 5000, b"NaN", b"-Infinity", b"1e999")
ODD_VALUES = (
    None,
    True,
    False,
    "",
    "x",
    "\ud800",
    "0",
    "a\nb",
    "\0",
    "x" * 5000,
    [],
    {},
    [None],
    {"x": None},
    [[]],
    ["x", "x"],
    0,
    -1,
    1,
    1.5,
    2**31,
    2**63,
    10**400,
    -(10**400),
    1e308,
    float("nan"),
    float("inf"),
)

_ODD_KEYS = ("", "x", "a\nb", "x" * 5000, "\ud800", "to_dict", "_problem", "__class__")
_LONGEST_MESSAGE = 2000  # characters


def mutated_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change a few places of a file: flip, insert, remove, repeat, overwrite or cut."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place = rng.randrange(len(data) + 1)
        length = rng.choice((1, 2, 4, 8, 100))
        kind = rng.randrange(7)
        if kind == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[place:place] = rng.choice(_ODD_BYTES)
        elif kind == 2:
            del data[place : place + length]
        elif kind == 3:
            data[place:place] = data[place : place + length]
        elif kind == 4:
            data[place : place + length] = rng.choice((b"\0", b"\xff")) * length
        elif kind == 5:
            numbers = list(re.finditer(rb"\d+", data))
            if numbers:
                number = rng.choice(numbers)
                data[number.start() : number.end()] = rng.choice(_ODD_NUMBERS)
        else:
            del data[place:]
    return bytes(data)


def mutated_tree(rng: random.Random, value: Any) -> Any:
    """Change a few nodes of a JSON value: other values, other keys, nodes lost or moved."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        places = list(_places(value))
        if not places:
            return value
        holder, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del holder[key]
        elif kind == 1:
            other_holder, other_key = rng.choice(places)
            holder[key] = copy.deepcopy(other_holder[other_key])
        elif kind == 2:
            holder[key] = [holder[key]]
        elif kind == 3 and isinstance(holder, dict):
            holder[rng.choice(_ODD_KEYS)] = 1
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))
    return value


def _places(value):
    """Yield each node of a JSON value but the root, as its holder and key."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def mutated_json(rng: random.Random, data: bytes) -> bytes:
    """Change a JSON file, most often as a tree."""
    if rng.randrange(4) == 0:
        return mutated_bytes(rng, data)
    return json.dumps(mutated_tree(rng, json.loads(data))).encode()


def check_reader(
    path: Path,
    read: Callable[[], Any],
    check: Callable[[Any], None] = lambda result: None,
    mutate: Callable[[random.Random, bytes], bytes] = mutated_bytes,
    count: int = COUNT,
    name: str | None = None,
    most_lines: int = 1,
) -> tuple[int, int]:
    """Read mutations of a file; each ends in a good result, or in an error that names the file.

    Args:
      path: path of a valid file, which `read` reads; it is there again at the end.
      read: reads the file, or the files that it is one of.
      check: asserts that a result makes sense.
      mutate: function of random numbers and the file's content.
      count: number of mutations.
      name: what messages name; by default the file's name.
      most_lines: largest number of lines of an error; each names the file.

    Returns:
      Numbers of results and of errors.
    """
    data, results, errors = path.read_bytes(), 0, 0
    check(read())
    for seed in range(count):
        mutation = mutate(random.Random(seed), data)
        path.write_bytes(mutation)
        try:
            result = read()
        except InputError as error:
            message = str(error)
            lines = message.splitlines()
            assert 1 <= len(lines) <= most_lines, f"seed {seed}: {message!r}"
            for line in lines:
                assert (name or path.name) in line, f"seed {seed}: {message}"
                assert len(line) <= _LONGEST_MESSAGE, f"seed {seed}: {message}"
            errors += 1
        except Exception as error:
            raise AssertionError(f"seed {seed} ({mutation[:200]!r}): {error!r}") from error
        else:
            check(result)
            results += 1
    path.write_bytes(data)
    return results, errors
