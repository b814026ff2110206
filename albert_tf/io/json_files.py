"""JSON files of any origin: reading, and access to their values.

Whatever is wrong with a file ends in an `InputError` that names the file, the place in it and the
remedy. Stricter than `json.loads`: no NaN, no infinite numbers, no duplicate keys, and no halves of
surrogate pairs, which are not characters. A byte-order mark is accepted.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from albert_tf.io import files
from albert_tf.io.bounds import Bounds
from albert_tf.io.errors import InputError

FORMAT = "format"  # key of the version of a file's structure, in files of this project
DIGEST_LENGTH = 12  # of a short digest

_LONGEST_SHOWN = 60  # characters of a value in a message
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def versioned(version: int, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a file of this project, with the version of its structure in front."""
    return {FORMAT: version, **values}


class JsonObject:
    """An object in a JSON file, with its place, for messages.

    Attributes:
      values: values by key.
      file: path of the file.
      place: place of the object in the file, such as "data[3].paragraphs[0]"; "" for the whole.
      remedy: remedy to give in messages.
    """

    def __init__(self, values: dict[str, Any], file: str, remedy: str, place: str = ""):
        """Make the object."""
        self.values = values
        self.file = file
        self.place = place
        self.remedy = remedy

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str) -> str:
        """A string; `InputError` if it is missing or another value."""
        return self._typed(key, str, "a string")

    def number(self, key: str, bounds: Bounds) -> float:
        """A number within bounds; `InputError` if it is missing or another value."""
        value = self._value(key)
        if not bounds.allow(value):
            raise self._unlike(key, value, str(bounds))
        return value

    def integer(self, key: str, lower: int, upper: int | None = None) -> int:
        """An integer from `lower` to `upper`; `InputError` if it is missing or another value."""
        return int(self.number(key, Bounds(True, lower, upper)))

    def boolean(self, key: str) -> bool:
        """True or false; `InputError` if it is missing or another value."""
        return self._typed(key, bool, "true or false")

    def child(self, key: str) -> JsonObject:
        """An object; `InputError` if it is missing or another value."""
        return self._as_child(self._value(key), f"{self._prefix}{key}")

    def array(self, key: str) -> list[Any]:
        """A list; `InputError` if it is missing or another value."""
        return self._typed(key, list, "a list")

    def texts(self, key: str) -> list[str]:
        """A list of strings; `InputError` if it is missing or another value."""
        for index, value in enumerate(self.array(key)):
            if not isinstance(value, str):
                raise self._unlike(f"{key}[{index}]", value, "a string")
        return self.values[key]

    def objects(self, key: str) -> Iterator[JsonObject]:
        """Yield the objects in a list; `InputError` if it is missing or has other values."""
        for index, value in enumerate(self.array(key)):
            yield self._as_child(value, f"{self._prefix}{key}[{index}]")

    def error(self, problem: str) -> InputError:
        """Make an error with the file and the remedy."""
        return InputError(f"{self.file}: {problem}; {self.remedy}")

    @property
    def _prefix(self) -> str:
        return f"{self.place}." if self.place else ""

    def _value(self, key: str) -> Any:
        if key not in self.values:
            raise self.error(f"{self._prefix}{key} is missing")
        return self.values[key]

    def _typed(self, key: str, kind: type, expected: str) -> Any:
        value = self._value(key)
        if not isinstance(value, kind):
            raise self._unlike(key, value, expected)
        return value

    def _as_child(self, value: Any, place: str) -> JsonObject:
        if not isinstance(value, dict):
            raise self.error(f"{place} is {shown(value)}, not an object")
        return JsonObject(value, self.file, self.remedy, place)

    def _unlike(self, key: str, value: Any, expected: str) -> InputError:
        return self.error(f"{self._prefix}{key} is {shown(value)}, not {expected}")


def read(path: str | Path, content: str, remedy: str, version: int | None = None) -> JsonObject:
    """Read a JSON file that holds an object.

    Args:
      path: path of the file.
      content: the file's content, for the message if it cannot be read: "the questions".
      remedy: remedy for any fault in the file.
      version: version of the structure that a file of this project must have; see `versioned`.

    Raises:
      InputError: if the file cannot be read, is not JSON with an object, or has another version.
    """
    files.check_no_pipe(path)
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: cannot read {content}: {error.strerror}; correct the path"
        ) from error
    found = parse(data, str(path), remedy)
    if version is not None:
        written = found.values.get(FORMAT)
        if type(written) is not int or written != version:
            raise found.error(
                f"its format is {shown(written)}, this version of the project reads {version}"
            )
    return found


def parse(data: bytes, file: str, remedy: str) -> JsonObject:
    """Parse a JSON text in UTF-8 that holds an object.

    Args:
      data: the text.
      file: path of its file, for messages.
      remedy: remedy for any fault in the file.

    Raises:
      InputError: if the text is not JSON with an object.
    """
    try:
        return JsonObject(object_in(data.decode("utf-8-sig")), file, remedy)
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not valid JSON: {error}; {remedy}") from error
    except ValueError as error:
        raise InputError(f"{file}: {error}; {remedy}") from error


def object_in(text: str) -> dict[str, Any]:
    """Parse a JSON text that holds an object.

    Raises:
      ValueError: if it is not such a text; the message has neither file nor remedy.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError as error:
        raise ValueError("not valid JSON: nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object was expected, not {shown(value)}")
    if _SURROGATE_ESCAPE.search(text):
        place = _place_of_surrogate(value)
        if place:
            raise ValueError(
                f"{place} has half of a surrogate pair (\\ud800 to \\udfff), which is not a "
                "character"
            )
    return value


def encoded(value: Any) -> bytes:
    """Contents of a JSON file of this project."""
    return (json.dumps(value, indent=4) + "\n").encode()


def short_digest(value: Any) -> str:
    """Short digest of a JSON value, for file names."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def shown(value: Any) -> str:
    """A JSON value as short text on one line, for messages."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary from the keys and values of an object."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        duplicate = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"duplicate key {shown(duplicate)} in an object")
    return values


def _finite(text: str) -> float:
    """Convert a number with a fraction or an exponent, "NaN" or "Infinity"."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_LONGEST_SHOWN]} is not a finite number")
    return number


def _place_of_surrogate(value: Any) -> str | None:
    """Place of the first string with a lone surrogate, or None."""
    waiting = [("", value)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str) and _SURROGATE.search(value):
            return place
        if isinstance(value, list):
            waiting += [(f"{place}[{i}]", item) for i, item in enumerate(value)][::-1]
        elif isinstance(value, dict):
            prefix = f"{place}." if place else ""
            if any(_SURROGATE.search(key) for key in value):
                return f"a key of {place or 'the object'}"
            waiting += [(f"{prefix}{key}", item) for key, item in value.items()][::-1]
    return None
