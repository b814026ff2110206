"""CSV, TSV and JSON Lines files of any origin, also gzipped: rows with their lines.

A file is read once from start to end, which finds what is wrong with its rows; then its rows can be
read again in any order, without keeping them in memory.
"""

from __future__ import annotations

import array
import contextlib
import csv
import gzip
import io
import json
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Iterable, Iterator, Mapping, Sequence

from albert_tf.io import json_files
from albert_tf.io.errors import InputError, listed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FORMATS = ("csv", "tsv", "jsonl")

_FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_GZIP_MAGIC = b"\x1f\x8b"
_MARK = b"\xef\xbb\xbf"  # byte-order mark in UTF-8
_BLOCK = 64  # rows between two known offsets
_COPIED = 1 << 20  # bytes
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
      num_rows: number of rows; known after `rows` has been read to the end.
    """

    def __init__(self, path: str, file_format: str | None = None):
        """Open a file, and read its header.

        Args:
          path: path of the file.
          file_format: one of `FORMATS`; by default, that of the file's name.

        Raises:
          InputError: if the file cannot be read, or its format or header is not known.
        """
        self.path = path
        self.format = file_format or format_of(path)
        self.delimiter = {"csv": ",", "tsv": "\t", "jsonl": ""}[self.format]
        self.num_rows = 0
        self._starts = array.array("Q")  # offset and line number of every `_BLOCK`th row
        self._read_block: int | None = None  # the last one read by `row`
        self._block_rows: list[Row] = []
        self._file = _opened(path)
        self._size = os.fstat(self._file.fileno()).st_size
        self._first = len(_MARK) if os.pread(self._file.fileno(), len(_MARK), 0) == _MARK else 0
        self._first_line = 1
        self.columns: tuple[str, ...] = ()
        self._read_header()

    def rows(self) -> Iterator[Row]:
        """Yield all rows in order, also those with problems."""
        self._starts = array.array("Q")
        number = 0
        for offset, row in self._parsed(self._first, self._size, self._first_line):
            if number % _BLOCK == 0:
                self._starts.extend((offset, row.line))
            number += 1
            yield row
        self.num_rows = number

    def row(self, number: int) -> Row:
        """A row by its number, from 0; quick if it is near the last one.

        `rows` must have been read to the end before.
        """
        block = number // _BLOCK
        if block != self._read_block:
            self._block_rows = self._rows_of_block(block)
            self._read_block = block
        return self._block_rows[number % _BLOCK]

    def _rows_of_block(self, number: int) -> list[Row]:
        start, line = self._starts[2 * number : 2 * number + 2]
        end = self._starts[2 * number + 2] if 2 * number + 2 < len(self._starts) else self._size
        return [row for _, row in self._parsed(start, end, line)]

    def _read_header(self) -> None:
        if self.format == "jsonl":
            first = next((row for row in self.rows() if not row.problem), None)
            self.columns = tuple(first.values) if first else ()
            return
        header = next(self._fields(_Lines(self._file, self._first, self._size, 1)), None)
        if header is None:
            return
        place, fields, problem = header
        if self.format == "csv" and len(fields) == 1 and ";" in fields[0]:
            self.delimiter = ";"
            self._read_header()
            return
        if problem:
            raise InputError(f"{self.path}, line {place.line}: {problem}; correct the header")
        duplicates = sorted({name for name in fields if name and fields.count(name) > 1})
        if duplicates:
            raise InputError(
                f"{self.path}, line {place.line}: the header has {', '.join(duplicates)} more than "
                "once; give each column a name of its own"
            )
        self.columns = tuple(fields)
        self._first, self._first_line = place.end, place.next_line

    def _parsed(self, start: int, end: int, first_line: int) -> Iterator[tuple[int, Row]]:
        """Yield the offset of each row in a part of the file, and the row."""
        lines = _Lines(self._file, start, end, first_line)
        if self.format == "jsonl":
            for place, values, problem in _json_rows(lines):
                yield place.offset, Row(place.line, values, problem)
            return
        for place, fields, problem in self._fields(lines):
            if not problem and len(fields) != len(self.columns):
                problem = f"{len(fields)} fields where the header has {len(self.columns)}"
            values = {} if problem else dict(zip(self.columns, fields))
            yield place.offset, Row(place.line, values, problem)

    def _fields(self, lines: _Lines) -> Iterator[tuple[_Place, list[str], str | None]]:
        """Yield the place of each row of CSV or TSV, its fields, and its problem or None."""
        return _csv_rows(lines, self.delimiter) if self.format == "csv" else _tsv_rows(lines)


@dataclass(frozen=True)
class _Place:
    """Offset and line number of a row, and those of what follows it."""

    offset: int
    line: int
    end: int
    next_line: int


class _Lines:
    """Lines of a part of a file as text, with their places."""

    def __init__(self, file: BinaryIO, start: int, end: int, first_line: int):
        self._lines = io.BufferedReader(_Part(file.fileno(), start, end), _COPIED)
        self.offset = start  # of the next line
        self.number = first_line  # of the next line
        self.is_utf8 = True  # whether all lines since `begin` are

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.offset += len(line)
        self.number += 1
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError:
            self.is_utf8 = False
            return line.decode("utf-8", "replace")

    def begin(self) -> tuple[int, int]:
        """Begin a row: its offset and line number."""
        self.is_utf8 = True
        return self.offset, self.number

    def place(self, begun: tuple[int, int]) -> _Place:
        """Place of the row that was begun."""
        return _Place(*begun, self.offset, self.number)


class _Part(io.RawIOBase):
    """Bytes of a part of an open file. It has a position of its own, so processes may share it."""

    def __init__(self, descriptor: int, start: int, end: int):
        super().__init__()
        self._descriptor, self._position, self._end = descriptor, start, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        size = min(len(view), self._end - self._position)
        data = os.pread(self._descriptor, size, self._position)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


_NOT_UTF8 = "not UTF-8"


def _csv_rows(lines: _Lines, delimiter: str) -> Iterator[tuple[_Place, list[str], str | None]]:
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        begun = lines.begin()
        fields: list[str] = []
        problem = None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"broken CSV: {_explained(str(error))}"
        if fields or problem:
            yield lines.place(begun), fields, problem if lines.is_utf8 else _NOT_UTF8


def _explained(text: str) -> str:
    if "unexpected end" in text or "limit" in text:
        return "a quote is not closed"
    if "new-line" in text:
        return "a carriage return outside of quotes"
    return text


def _tsv_rows(lines: _Lines) -> Iterator[tuple[_Place, list[str], str | None]]:
    while True:
        begun = lines.begin()
        line = next(lines, None)
        if line is None:
            return
        text = line.rstrip("\r\n")
        if text:
            yield lines.place(begun), text.split("\t"), None if lines.is_utf8 else _NOT_UTF8


def _json_rows(lines: _Lines) -> Iterator[tuple[_Place, dict[str, Any], str | None]]:
    while True:
        begun = lines.begin()
        line = next(lines, None)
        if line is None:
            return
        if not line.strip():
            continue
        if not lines.is_utf8:
            yield lines.place(begun), {}, _NOT_UTF8
            continue
        try:
            yield lines.place(begun), json_files.object_in(line), None
        except ValueError as error:
            yield lines.place(begun), {}, str(error)


def _opened(path: str) -> BinaryIO:
    """Open a file; a gzipped one is unpacked to a temporary file without a name."""
    with contextlib.ExitStack() as stack:
        try:
            file: BinaryIO = stack.enter_context(Path(path).open("rb"))
            is_packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        except OSError as error:
            raise InputError(
                f"{path}: cannot read the file: {error.strerror}; correct the path"
            ) from error
        if is_packed:
            file.seek(0)
            unpacked = stack.enter_context(tempfile.TemporaryFile())
            _unpack(path, file, unpacked)
            file = unpacked
        stack.pop_all()  # the table keeps it open
        return file


def _unpack(path: str, file: BinaryIO, unpacked: BinaryIO) -> None:
    with gzip.GzipFile(fileobj=file) as packed:
        try:
            for data in iter(lambda: packed.read(_COPIED), b""):
                unpacked.write(data)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: the gzip file is damaged: {error}; copy it again") from error
    unpacked.flush()


class RowProblems:
    """Problems with the rows of a table, counted by their kind.

    The kind of a problem is its text up to the first colon.
    """

    def __init__(self) -> None:
        """Make an empty collection."""
        # From the kind to the first text and the lines.
        self._found: dict[str, tuple[str, array.array[int]]] = {}
        self._num_others = 0  # rows with further kinds

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, line: int, problem: str) -> None:
        """Add a problem with the row that begins in a line."""
        kind = problem.partition(":")[0]
        if kind not in self._found and len(self._found) == _MOST_KINDS:
            self._num_others += 1
            return
        _, lines = self._found.setdefault(kind, (problem, array.array("Q")))
        lines.append(line)

    def messages(self, table: Table) -> list[str]:
        """Describe the problems of each kind in a line, such as "a.csv, lines 3, 7: not UTF-8"."""
        messages = []
        for problem, lines in self._found.values():
            word = "lines" if len(lines) > 1 else "line"
            places = listed([*map(str, lines)])
            messages.append(f"{table.path}, {word} {places}: {problem}")
        if self._num_others:
            messages.append(f"{table.path}: {self._num_others} rows with other problems")
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
        for row in rows:
            yield json.dumps(row, ensure_ascii=False) + "\n"
        return
    for values in _with_header(columns, rows):
        if file_format == "tsv":
            yield "\t".join(values) + "\n"
        else:
            line = io.StringIO()
            csv.writer(line, delimiter=delimiter).writerow(values)
            yield line.getvalue()[: -len("\r\n")] + "\n"


def _with_header(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[list[str]]:
    yield list(columns)
    for row in rows:
        yield ["" if row[name] is None else str(row[name]) for name in columns]


def format_of(path: str) -> str:
    """Format of a file by its name.

    Raises:
      InputError: if the name does not tell it.
    """
    if not has_known_name(path):
        raise InputError(
            f"{path}: the name does not tell the format: it should end in .csv, .tsv or .jsonl"
        )
    return _FORMAT_OF_SUFFIX[_suffix(path)]


def has_known_name(path: str) -> bool:
    """Whether the name of a file tells its format."""
    return _suffix(path) in _FORMAT_OF_SUFFIX


def _suffix(path: str) -> str:
    name = path[: -len(".gz")] if path.endswith(".gz") else path
    return Path(name).suffix.lower()
