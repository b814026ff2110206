"""Declaration of settings: dataclass fields from which flags, help and documentation are made.

A setting is declared once, as a field with a default, help text, bounds, the group of `--help` it
belongs to, and whether training depends on it. A script's dataclass inherits the settings of the
run and of its task, and may redeclare a field to change its default. Numbers are finite, and by
default not negative; integers fit into 32 bits.

Annotations are evaluated, so they must be valid on the oldest supported Python: `Optional[int]`,
not `int | None`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Sequence

from albert_tf.cli.paths import PATH, PATHS, STANDARD_INPUT
from albert_tf.io import files
from albert_tf.io.bounds import LARGEST_INT, Bounds
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import shown

# Limits that no run reaches, for settings that decide how much memory is taken.
LARGEST_BATCH = 1 << 20
LONGEST_SEQUENCE = 1 << 16  # pieces

_METADATA = "setting"  # key of a field's metadata
_FIELDS = "__dataclass_fields__"  # where a dataclass keeps its fields


class Group(enum.Enum):
    """Groups of `--help`, in their order."""

    FILES = "Files"
    TEXT = "Model and text"
    TRAINING = "Training"
    EVALUATION = "Evaluation and prediction"
    DEVICES = "Devices"
    HOROVOD = "Horovod"
    FURTHER = "Further"
    HIDDEN = "Without effect"


@dataclass(frozen=True)
class Declaration:
    """What a field of a settings dataclass says about itself.

    Attributes:
      help: one or two sentences for `--help` and the documentation.
      group: group of `--help`; its settings are shown in the order of their declaration.
      affects_training: whether another value can change what training makes of the same inputs. A
        resumed run warns if such a setting has changed.
      affects_records: whether the records of the same examples depend on it. It is kept with the
        model, as `affects_predictions` is.
      affects_predictions: whether the predictions of the same model from the same records do.
      lower: smallest valid number; None for no limit.
      upper: largest valid number; None for no limit, or 2^31 - 1 for integers.
      excludes_lower: whether numbers must be greater than `lower`.
      excludes_upper: whether numbers must be less than `upper`.
      choices: valid words; empty for any.
      path: for a path its kind: `paths.PATH`, `PATHS` or `CHECKPOINT_PATH`.
      must_exist: whether the script reads what is at the path, or names of the switches, such as
        `do_train`, any of which has it do so.
    """

    help: str
    group: Group = Group.FURTHER
    affects_training: bool = True
    affects_records: bool = False
    affects_predictions: bool = False
    lower: float | None = 0
    upper: float | None = None
    excludes_lower: bool = False
    excludes_upper: bool = False
    choices: Sequence[str] = ()
    path: str | None = None
    must_exist: bool | Sequence[str] = False


def setting(default: Any, help: str, **declared: Any) -> Any:
    """Declare a field of a settings dataclass.

    Args:
      default: default value.
      help: one or two sentences for `--help` and the documentation.
      **declared: further attributes of `Declaration`.
    """
    return dataclasses.field(default=default, metadata={_METADATA: Declaration(help, **declared)})


def path_setting(
    help: str, default: str | None = None, *, kind: str = PATH, **declared: Any
) -> Any:
    """Declare a field for a path; `flags.read` checks it, and replaces `~` by the home directory.

    Training depends on the contents of files, not on their paths.

    Args:
      help: one or two sentences for `--help` and the documentation.
      default: default path.
      kind: `paths.PATH`, `PATHS` or `CHECKPOINT_PATH`.
      **declared: further attributes of `Declaration`.
    """
    declared = {"group": Group.FILES, "affects_training": False, **declared}
    return setting(default, help, path=kind, **declared)


@dataclass(frozen=True)
class Setting:
    """A setting of a settings dataclass: its field with the declaration and the type.

    Attributes:
      name: name of the field and of the flag.
      default: default value in this class.
      kind: type of a value: `bool`, `int`, `float`, `str` or `list`.
      is_optional: whether the value may be None.
      declaration: what the field was declared with, in this class or one of its bases.
    """

    name: str
    default: Any
    kind: type
    is_optional: bool
    declaration: Declaration

    @property
    def bounds(self) -> Bounds | None:
        """Bounds of a number; None for a setting of another type."""
        if self.kind not in (int, float):
            return None
        declared, upper = self.declaration, self.declaration.upper
        if self.kind is int and upper is None:
            upper = LARGEST_INT
        return Bounds(
            self.kind is int,
            declared.lower,
            upper,
            declared.excludes_lower,
            declared.excludes_upper,
        )

    @property
    def valid_values(self) -> str:
        """The valid values in words, such as "a number of at least 0"."""
        if self.declaration.choices:
            return f"one of {', '.join(self.declaration.choices)}"
        if self.bounds:
            return str(self.bounds)
        return {bool: "true or false", list: "words separated by commas"}.get(self.kind, "text")

    def allows(self, value: Any) -> bool:
        """Whether a value has the right type and is within the bounds; paths are not checked."""
        if value is None or self.declaration.path:
            return value is not None or self.is_optional
        if self.declaration.choices:
            return value in self.declaration.choices
        return self.bounds.allow(value) if self.bounds else isinstance(value, self.kind)

    def refusal(self, value: Any) -> str:
        """Describe an invalid value, for an error message."""
        if isinstance(value, float):
            text = f"{value:g}"
        else:
            text = value if isinstance(value, str) else shown(value)
        return f"--{self.name}={text}: give {self.valid_values}"


def settings_of(settings_class: type) -> dict[str, Setting]:
    """Settings of a dataclass by name, in the order of its fields.

    Raises:
      TypeError: if a field is not declared by `setting`, in the class or one of its bases.
    """
    return _settings_of(settings_class)


@functools.lru_cache(maxsize=None)
def _settings_of(settings_class: type) -> dict[str, Setting]:
    hints = typing.get_type_hints(settings_class)
    settings = {}
    for field in dataclasses.fields(settings_class):
        kinds = typing.get_args(hints[field.name]) if _is_union(hints[field.name]) else ()
        (kind,) = set(kinds or [hints[field.name]]) - {type(None)}
        settings[field.name] = Setting(
            field.name,
            field.default,
            typing.get_origin(kind) or kind,
            type(None) in kinds,
            _declaration_of(settings_class, field.name),
        )
    return settings


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Union


def _declaration_of(settings_class: type, name: str) -> Declaration:
    for owner in settings_class.__mro__:
        field = vars(owner).get(_FIELDS, {}).get(name)
        if field is not None and _METADATA in field.metadata:
            declaration: Declaration = field.metadata[_METADATA]
            return declaration
    raise TypeError(f"{settings_class.__name__}.{name} is not declared by `setting`")


def grouped(settings_class: type) -> dict[Group, list[Setting]]:
    """Settings of a dataclass by group; those declared by the class itself first, then its bases'.

    Groups without a setting are left out.
    """
    settings = settings_of(settings_class)
    names = dict.fromkeys(name for owner in settings_class.__mro__ for name in _declared_in(owner))
    groups: dict[Group, list[Setting]] = {group: [] for group in Group}
    for name in names:
        groups[settings[name].declaration.group].append(settings[name])
    return {group: found for group, found in groups.items() if found}


def _declared_in(settings_class: type) -> Iterator[str]:
    """Yield the names of the settings that a class declares itself."""
    inherited = {
        id(field)
        for base in settings_class.__mro__[1:]
        for field in vars(base).get(_FIELDS, {}).values()
    }
    for field in vars(settings_class).get(_FIELDS, {}).values():
        if _METADATA in field.metadata and id(field) not in inherited:
            yield field.name


def changed_values(settings: Any) -> dict[str, Any]:
    """Values of the settings that are not the script's defaults, by name."""
    return {
        name: getattr(settings, name)
        for name, setting in settings_of(type(settings)).items()
        if getattr(settings, name) != setting.default
    }


def wrong_values(settings: Any) -> list[str]:
    """Describe the values of a settings object that are out of bounds, for error messages."""
    return [
        setting.refusal(getattr(settings, name))
        for name, setting in settings_of(type(settings)).items()
        if not setting.allows(getattr(settings, name))
    ]


def missing_files(settings: Any) -> list[str]:
    """Describe the paths at which there is nothing to read, for error messages.

    This takes no time, so that a typing error is reported at once. What is at the other paths is
    checked when it is read.
    """
    problems = []
    for name, setting in settings_of(type(settings)).items():
        path, read = getattr(settings, name), setting.declaration.must_exist
        if not isinstance(read, bool):
            read = any(getattr(settings, switch) for switch in read)
        try:
            if not read or not path or path == STANDARD_INPUT:
                continue
            if setting.declaration.path == PATHS:
                files.matching_files(name, path)
            elif not Path(f"{path}.index").exists():  # the prefix of a checkpoint
                Path(path).stat()
                files.check_no_pipe(path)
        except InputError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"--{name} {path}: {error.strerror}; correct the path")
    return problems
