"""CSV, TSV and JSON Lines files of any origin, also gzipped: rows with their lines.

A file is read in order, from start to end, as often as its rows are needed: first to find what is
wrong with them, later to use them. They are never all in memory.
"""

from __future__ import annotations

import array
import contextlib
import csv
import gzip
import io
import itertools
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence, TextIO

from albert_tf.io import json_files
from albert_tf.io.errors import InputError, listed

FORMATS = ("csv", "tsv", "jsonl")

_FORMAT_OF = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_FIELD = 1 << 24  # characters; a quote that is never closed ends there
_MOST_KINDS = 20


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
      line: number of its first line in the file, from 1.
      values: values by column: texts, or JSON values.
      problem: the reason why it cannot be used, or None.
    """

    line: int
    values: Mapping[str, Any]
    problem: str | None = None


class Table:
    """Rows of a CSV, TSV or JSON Lines file in UTF-8.

    CSV may have a semicolon in place of the comma, if its header has. In TSV quotes mean nothing: a
    field is all the text between two tabs. Empty lines are skipped.

    Attributes:
      path: path of the file.
      format: one of `FORMATS`.
      delimiter: the text between two fields; "" for JSON Lines.
      columns: names in the header, or keys of the first object.
    """

    def __init__(self, path: str, file_format: str | None = None):
        """Read the header of a file.

        Args:
          path: path of the file.
          file_format: one of `FORMATS`; by default, that of the file's name.

        Raises:
          InputError: if the file cannot be read, or its format or header is not known.
        """
        self.path = path
        self.format = file_format or format_of(path)
        self.delimiter = {"csv": ",", "tsv": "\t", "jsonl": ""}[self.format]
        self._version: tuple[int, int] | None = None  # size and last change of the file
        self.columns = self._read_columns()

    def rows(self) -> Iterator[Row]:
        """Yield all rows in order, also those with problems.

        Raises:
          InputError: if the file cannot be read to its end, or has changed since it was first read.
        """
        with self._opened() as lines:
            found = self._found(lines)
            if self.format != "jsonl":
                next(found, None)  # the header
            for line, values, problem in found:
                if isinstance(values, list):
                    if len(values) != len(self.columns):
                        problem = f"{len(values)} fields where the header has {len(self.columns)}"
                    values = dict(zip(self.columns, values))
                yield Row(line, {} if problem else values, problem)

    def _read_columns(self) -> tuple[str, ...]:
        if self.format == "jsonl":
            return next((tuple(row.values) for row in self.rows() if not row.problem), ())
        with self._opened() as lines:
            line, names, problem = next(self._found(lines), (1, [], None))
        if problem:
            raise InputError(f"{self.path}, line {line}: {problem}; correct the header")
        if self.delimiter == "," and len(names) == 1 and ";" in names[0]:
            self.delimiter = ";"
            return self._read_columns()
        duplicates = sorted({name for name in names if name and names.count(name) > 1})
        if duplicates:
            raise InputError(
                f"{self.path}, line {line}: the header has {', '.join(duplicates)} more than once; "
                "give each column a name of its own"
            )
        return tuple(names)

    def _found(self, lines: TextIO) -> Iterator[tuple[int, Any, str | None]]:
        """Yield the first line of each row, its fields or JSON object, and its problem or None."""
        csv.field_size_limit(_LONGEST_FIELD)
        reader = csv.reader(lines, delimiter=self.delimiter or ",", strict=True)
        rows_of: dict[str, Iterator[Any]] = {
            "csv": map(_csv_fields, reader),
            "tsv": map(_tsv_fields, lines),
            "jsonl": map(_json_object, lines),
        }
        rows = rows_of[self.format]  # goes on after an error
        for number in itertools.count(1):
            line = reader.line_num + 1 if self.format == "csv" else number
            row, problem = None, None
            try:
                row = next(rows)
            except StopIteration:
                return
            except (csv.Error, ValueError) as error:
                problem = _explained(error)
            if row is not None or problem:
                yield line, row, problem

    @contextlib.contextmanager
    def _opened(self) -> Iterator[TextIO]:
        """Open the file; whatever goes wrong while it is read is an `InputError`.

        Bytes that are not UTF-8 become halves of surrogate pairs, so that only their row is broken.
        """
        try:
            with Path(self.path).open("rb") as file:
                status = os.fstat(file.fileno())
                version = status.st_size, status.st_mtime_ns
                if self._version not in (None, version):
                    raise InputError(f"{self.path}: changed since it was checked; start again")
                self._version = version
                is_packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
                file.seek(0)
                data: Any = gzip.GzipFile(fileobj=file) if is_packed else file
                yield io.TextIOWrapper(data, "utf-8-sig", "surrogateescape", newline="\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{self.path}: the gzip file is damaged: {error}; copy it again"
            ) from error
        except OSError as error:
            raise InputError(
                f"{self.path}: cannot read the file: {error.strerror or error}; correct the path"
            ) from error


# Rows as they are read, or None for an empty one. What is not UTF-8 cannot be encoded again.


def _csv_fields(fields: list[str]) -> list[str] | None:
    "".join(fields).encode()
    return fields or None


def _tsv_fields(line: str) -> list[str] | None:
    line.encode()
    text = line.rstrip("\r\n")
    return text.split("\t") if text else None


def _json_object(line: str) -> dict[str, Any] | None:
    line.encode()
    return json_files.object_in(line) if line.strip() else None


def _explained(error: Exception) -> str:
    text = str(error)
    # Python 3.11 and later take NUL, which files in UTF-16 are full of.
    if isinstance(error, UnicodeEncodeError) or text == "line contains NUL":
        return "not UTF-8"
    if not isinstance(error, csv.Error):
        return text
    if "unexpected end" in text or "limit" in text:
        text = "a quote is not closed"
    elif "new-line" in text:
        text = "a carriage return outside of quotes"
    return f"broken CSV: {text}"


class RowProblems:
    """Problems with the rows of a table, counted by their kind.

    The kind of a problem is its text up to the first colon.
    """

    def __init__(self) -> None:
        """Make an empty collection."""
        # From the kind to the first text and the lines.
        self._found: dict[str, tuple[str, array.array[int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, problem: str) -> None:
        """Add a problem with the row that begins in a line."""
        kind = problem.partition(":")[0]
        if kind not in self._found and len(self._found) >= _MOST_KINDS:
            kind = problem = "other problems"
        _, lines = self._found.setdefault(kind, (problem, array.array("Q")))
        lines.append(line)

    def messages(self, table: Table) -> list[str]:
        """Describe the problems of each kind in a line, such as "a.csv, lines 3, 7: not UTF-8"."""
        messages = []
        for problem, lines in self._found.values():
            word = "lines" if len(lines) > 1 else "line"
            places = listed([*map(str, lines)])
            messages.append(f"{table.path}, {word} {places}: {problem}")
        return messages


def as_text(
    file_format: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    delimiter: str = ",",
) -> Iterator[str]:
    """Yield the lines of a file.

    Args:
      file_format: one of `FORMATS`.
      columns: columns of a CSV or TSV file, in the order of its header.
      rows: values by column.
      delimiter: the text between two fields of a CSV file.

    Yields:
      Texts that end with a line feed; first the header, if the format has one.
    """
    if file_format == "jsonl":
        yield from (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return
    for row in itertools.chain([dict(zip(columns, columns))], rows):
        values = ["" if row[name] is None else str(row[name]) for name in columns]
        if file_format == "tsv":
            yield "\t".join(values) + "\n"
        else:
            line = io.StringIO()
            csv.writer(line, delimiter=delimiter).writerow(values)
            yield line.getvalue()[: -len("\r\n")] + "\n"


def format_of(path: str) -> str:
    """Format of a file by its name.

    Raises:
      InputError: if the name does not tell it.
    """
    if not has_known_name(path):
        raise InputError(
            f"{path}: the name does not tell the format: it should end in .csv, .tsv or .jsonl"
        )
    return _FORMAT_OF[_suffix(path)]


def has_known_name(path: str) -> bool:
    """Whether the name of a file tells its format."""
    return _suffix(path) in _FORMAT_OF


def _suffix(path: str) -> str:
    name = path[: -len(".gz")] if path.endswith(".gz") else path
    return Path(name).suffix.lower()
