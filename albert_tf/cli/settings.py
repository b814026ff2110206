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
from typing import Any, Sequence

from albert_tf.cli.paths import PATH, PATHS, STANDARD_INPUT
from albert_tf.io import files
from albert_tf.io.bounds import LARGEST_INT, Bounds
from albert_tf.io.errors import InputError
from albert_tf.io.json_files import shown

# Limits that no run reaches, for settings that decide how much memory is taken.
LARGEST_BATCH = 1 << 20
LONGEST_SEQUENCE = 1 << 16  # pieces

_LONGEST_SHOWN = 60  # characters of a value in a message
_METADATA = "setting"  # key of a field's metadata


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
    """Declaration of a field of a settings dataclass.

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


text_setting = functools.partial(setting, group=Group.TEXT, affects_records=True)
training_setting = functools.partial(setting, group=Group.TRAINING)
evaluation_setting = functools.partial(setting, group=Group.EVALUATION, affects_training=False)


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
        declared, is_whole = self.declaration, self.kind is int
        upper = LARGEST_INT if is_whole and declared.upper is None else declared.upper
        excluded = (declared.excludes_lower, declared.excludes_upper)
        return Bounds(is_whole, declared.lower, upper, *excluded)

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
        text = f"{value:g}" if isinstance(value, float) else shown(value)
        if isinstance(value, str):
            text = value[:_LONGEST_SHOWN]
        return f"--{self.name}={text}: give {self.valid_values}"


def settings_of(settings_class: type) -> dict[str, Setting]:
    """Settings of a dataclass by name, in the order of its fields.

    Raises:
      TypeError: if a field is not declared by `setting`, in the class or one of its bases.
    """
    return _settings_of(settings_class)


@functools.lru_cache(maxsize=None)
def _settings_of(settings_class: type) -> dict[str, Setting]:
    hints, declarations = typing.get_type_hints(settings_class), _declarations(settings_class)
    settings = {}
    for field in dataclasses.fields(settings_class):
        if field.name not in declarations:
            raise TypeError(f"{settings_class.__name__}.{field.name} is not declared by `setting`")
        hint = hints[field.name]
        kinds = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
        kind = next(kind for kind in kinds if kind is not type(None))
        settings[field.name] = Setting(
            field.name,
            field.default,
            typing.get_origin(kind) or kind,
            type(None) in kinds,
            declarations[field.name],
        )
    return settings


def _declarations(settings_class: type) -> dict[str, Declaration]:
    """Declarations by name, those of the class itself first, then those of its bases."""
    found: dict[str, Declaration] = {}
    for owner in settings_class.__mro__:
        for name, field in vars(owner).get("__dataclass_fields__", {}).items():
            is_own = name in vars(owner)  # where a dataclass keeps the default
            if is_own and _METADATA in field.metadata:
                found.setdefault(name, field.metadata[_METADATA])
    return found


def grouped(settings_class: type) -> dict[Group, list[Setting]]:
    """Settings of a dataclass by group; those declared by the class itself first, then its bases'.

    Groups without a setting are left out.
    """
    groups: dict[Group, list[Setting]] = {group: [] for group in Group}
    for name, declaration in _declarations(settings_class).items():
        groups[declaration.group].append(settings_of(settings_class)[name])
    return {group: found for group, found in groups.items() if found}


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
            if not read or not (path or "").strip() or path == STANDARD_INPUT:
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
