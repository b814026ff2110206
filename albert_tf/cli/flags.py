"""Conversion of settings dataclasses to flags, and of flag values to settings.

Only scripts call `define`. Values are checked when they are read, not when they are parsed, so that
all wrong ones are reported at once.
"""

from __future__ import annotations

import sys
from typing import Any, Mapping, TypeVar

from absl import flags

from albert_tf.cli import paths
from albert_tf.cli.settings import settings_of, wrong_values
from albert_tf.io.errors import InputError

Settings = TypeVar("Settings")

_PARSERS = {
    int: flags.IntegerParser,
    float: flags.FloatParser,
    bool: flags.BooleanParser,
    str: flags.ArgumentParser,
    list: flags.ListParser,
}


class _Parser(flags.ArgumentParser):  # type: ignore[type-arg]  # generic in absl 2 only
    """Parser that returns the text of a value of another type, instead of raising."""

    def __init__(self, parser: flags.ArgumentParser[Any], syntactic_help: str):
        self._parser = parser
        self.syntactic_help = syntactic_help

    def parse(self, argument: Any) -> Any:
        try:
            return self._parser.parse(argument)
        except (ValueError, TypeError):
            return str(argument)

    def flag_type(self) -> str:
        return self._parser.flag_type()


def define(settings_class: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define a flag for each field of a settings dataclass.

    Flags that are already defined stay unchanged. Their defaults may come from another script, so
    `read` ignores the defaults of flags.

    Args:
      settings_class: dataclass with fields declared by `settings.setting`.
      flag_values: flags to add to.
    """
    for setting in settings_of(settings_class).values():
        if setting.name in flag_values:
            continue
        is_restricted = setting.bounds or setting.declaration.choices
        flag = flags.Flag(
            _Parser(_PARSERS[setting.kind](), setting.valid_values if is_restricted else ""),
            flags.CsvListSerializer(",") if setting.kind is list else flags.ArgumentSerializer(),
            setting.name,
            setting.default,
            setting.declaration.help,
            boolean=setting.kind is bool,
        )
        # --help shows only the flags of the main module.
        flags.DEFINE_flag(flag, flag_values, module_name=sys.argv[0])


def read(settings_class: type[Settings], flag_values: flags.FlagValues = flags.FLAGS) -> Settings:
    """Make a settings object from the flag values.

    A flag that was not given takes its value from the method `defaults` of the settings, if they
    have one, or else the default of its field, not its own: another script may have defined the
    flag with another default.

    Raises:
      InputError: all flags whose values are of another type or out of bounds, or are paths that
        cannot be used.
    """
    given: dict[str, Any] = {}
    defaults: Mapping[str, Any] = {}
    problems = []
    for name, setting in settings_of(settings_class).items():
        flag, path_kind = flag_values[name], setting.declaration.path
        if flag.using_default_value:
            continue
        try:
            given[name] = (
                paths.resolved(name, flag.value, path_kind)
                if path_kind and flag.value
                else flag.value
            )
        except InputError as error:  # a path that nothing can be read from
            problems.append(str(error))
    find_defaults = getattr(settings_class, "defaults", None)
    try:
        defaults = find_defaults(given) if find_defaults else {}
    except InputError as error:
        problems.append(str(error))
    values = settings_class(**{**defaults, **given})
    problems += wrong_values(values)
    if problems:
        raise InputError(*problems)
    return values
