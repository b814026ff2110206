"""Columns with the texts and the label of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from albert_tf.io.errors import InputError
from albert_tf.io.tables import Table
from albert_tf.tasks.custom.settings import CustomSettings

_TEXTS = (("text",), ("sentence",), ("sentence1", "sentence2"), ("text1", "text2"))
_LABELS = ("label",)
_SCORES = ("label", "score")


@dataclass(frozen=True)
class Columns:
    """Names of columns.

    Attributes:
      texts: columns of the one or two texts.
      label: column of the label or score; None if there is none.
    """

    texts: tuple[str, ...]
    label: str | None


def find_columns(
    table: Table,
    settings: CustomSettings,
    is_regression: bool,
    needs_label: bool,
    known_texts: Sequence[str] = (),
) -> Columns:
    """Find the columns given by the settings, or else by the header if it is unambiguous.

    Args:
      table: the table.
      settings: names of the columns that are given.
      is_regression: whether the label is a score.
      needs_label: whether a table without labels is an error.
      known_texts: columns of the texts that the model was trained on, if known.

    Raises:
      InputError: if a column is missing, or more than one could be meant.
    """
    label = _label_column(table, settings, is_regression, needs_label)
    return Columns(_text_columns(table, settings, label, known_texts), label)


def _label_column(
    table: Table, settings: CustomSettings, is_regression: bool, needs_label: bool
) -> str | None:
    given = settings.label_column
    if given:
        found = [given] if given in table.columns else []
    else:
        found = _named(table, _SCORES if is_regression else _LABELS)
    if len(found) == 1:
        return found[0]
    if not needs_label:
        return None
    raise _missing(table, "label_column", given) if given else _unclear(table, "label", found)


def _text_columns(
    table: Table, settings: CustomSettings, label: str | None, known: Sequence[str]
) -> tuple[str, ...]:
    if settings.second_text_column and not settings.text_column:
        raise InputError("--second_text_column needs --text_column, the column of the first text")
    if settings.text_column:
        given = (settings.text_column, settings.second_text_column)
        for flag, name in zip(("text_column", "second_text_column"), given):
            if name and name not in table.columns:
                raise _missing(table, flag, name)
        return tuple(name for name in given if name)
    if known and set(known) <= set(table.columns):
        return tuple(known)
    found = [_named(table, names) for names in _TEXTS]
    found = [columns for columns, names in zip(found, _TEXTS) if len(columns) == len(names)]
    if not found:
        others = [name for name in table.columns if name != label]
        if label and len(others) == 1:
            return (others[0],)
    if len(found) != 1:
        raise _unclear(table, "text", [name for names in found for name in names])
    return tuple(found[0])


def _named(table: Table, names: Sequence[str]) -> list[str]:
    """Columns with one of some names, in any case, in the order of the names."""
    by_name = {column.strip().lower(): column for column in table.columns}
    return [by_name[name] for name in names if name in by_name]


def _missing(table: Table, flag: str, name: str) -> InputError:
    return InputError(
        f"{table.path}: no column {name}, only {', '.join(table.columns)}; correct --{flag}"
    )


def _unclear(table: Table, content: str, found: Sequence[str]) -> InputError:
    reason = f"{', '.join(found)} could each be it" if found else "no name identifies it"
    return InputError(
        f"{table.path}: cannot tell the column of the {content} among "
        f"{', '.join(table.columns) or 'none'}: {reason}; give --{content}_column"
    )
