"""Conversion of settings dataclasses to flags, and of flag values to settings.

Only scripts call `define`.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import TypeVar

from absl import flags

from albert_tf.errors import InputError
from albert_tf.runs import paths

Settings = TypeVar("Settings")

_PARSERS = {
    "int": (flags.IntegerParser, flags.ArgumentSerializer()),
    "float": (flags.FloatParser, flags.ArgumentSerializer()),
    "str": (flags.ArgumentParser, flags.ArgumentSerializer()),
    "list[str]": (flags.ListParser, flags.CsvListSerializer(",")),
}


def define(settings_class: type, flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Define a flag for each field of a settings dataclass.

    Flags that are already defined stay unchanged. Their defaults may come from another script, so
    `read` ignores the defaults of flags.

    Args:
      settings_class: dataclass with fields declared by `settings.setting`.
      flag_values: flags to add to.
    """
    for field in dataclasses.fields(settings_class):
        if field.name not in flag_values:
            _define_flag(field, _metadata(settings_class, field.name), flag_values)


def _metadata(settings_class, name):
    """Metadata of a field declared by `setting` in the class or one of its bases."""
    for owner in settings_class.__mro__:
        field = getattr(owner, "__dataclass_fields__", {}).get(name)
        if field is not None and field.metadata:
            return field.metadata
    raise TypeError(f"{settings_class.__name__}.{name} is not declared by `setting`")


def _define_flag(field, metadata, flag_values):
    name, default, text = field.name, field.default, metadata["help"]
    kind = field.type.split(" ")[0]  # "int", of "int | None"
    if metadata["choices"]:
        flag = flags.EnumFlag(name, default, text, list(metadata["choices"]))
    elif kind == "bool":
        flag = flags.BooleanFlag(name, default, text)
    else:
        parser, serializer = _PARSERS[kind]
        if kind in ("int", "float"):
            parser = parser(metadata["lower"], metadata["upper"])
        else:
            parser = parser()
        flag = flags.Flag(parser, serializer, name, default, text)
    # --help shows only the flags of the main module.
    flags.DEFINE_flag(flag, flag_values, module_name=sys.argv[0])


def read(settings_class: type[Settings], flag_values: flags.FlagValues = flags.FLAGS) -> Settings:
    """Make a settings object from the flag values.

    A flag that was not given takes the default of its field, not its own: another script may have
    defined the flag with another default.

    Raises:
      InputError: all paths that cannot be used.
    """
    given, problems = {}, []
    for field in dataclasses.fields(settings_class):
        flag = flag_values[field.name]
        if flag.using_default_value:
            continue
        given[field.name] = flag.value
        path_kind = _metadata(settings_class, field.name).get("path")
        if path_kind and flag.value:
            try:
                given[field.name] = paths.resolved(field.name, flag.value, path_kind)
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return settings_class(**given)
