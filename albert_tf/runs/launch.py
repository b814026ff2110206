"""The start of a script: its environment, its flags, and what an error means to its user.

TensorFlow loads in the scripts' `main`, and not before: `--help` and flags that are wrong need no
TensorFlow, and the environment that it reads while it loads is set by then.
"""

from __future__ import annotations

import errno
import logging as python_logging
import os
import sys
import traceback
from typing import Any, Callable

from absl import app, logging
from absl import flags as absl_flags

from albert_tf.devices import distributed
from albert_tf.errors import InputError, SharedInputError
from albert_tf.runs import flags

_TRACEBACK_VERBOSITY = 1


def launch(main: Callable[..., None], settings_class: type, takes_arguments: bool = False) -> None:
    """Run a script: parse its flags, call `main`, turn bad input into a line and exit code 1.

    With several processes, the error of one ends all.

    Args:
      main: takes the settings, and the arguments that are not flags if `takes_arguments`.
      settings_class: dataclass of the script's settings, from which its flags are made.
      takes_arguments: whether there may be arguments that are not flags.
    """
    prepare_environment()
    logging.set_verbosity(logging.INFO)
    flags.define(settings_class)

    def main_with_messages(argv):
        try:
            arguments = argv[1:]
            if arguments and not takes_arguments:
                raise InputError(
                    f"{' '.join(arguments)}: not a flag; values follow their flag behind an equals "
                    "sign, as in --do_train=false"
                )
            settings = flags.read(settings_class)
            main(*([settings, arguments] if takes_arguments else [settings]))
        except KeyboardInterrupt:
            sys.exit("interrupted: the same command goes on from the last checkpoint")
        except Exception as error:
            message = explain(error)
            if message is None or absl_flags.FLAGS.verbosity >= _TRACEBACK_VERBOSITY:
                message = traceback.format_exc()
            else:
                message = "\n".join(f"error: {line}" for line in message.splitlines())
            distributed.exit_with_error(message, isinstance(error, SharedInputError))

    app.run(main_with_messages)


def prepare_environment() -> None:
    """Set what TensorFlow reads while it loads: no log lines of its own, and for the rewrite to
    bfloat16, which is a part of oneDNN, oneDNN."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.get("TF_BF16_CONVERSION", "0") not in ("", "0"):
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    for library in ("tensorflow", "h5py"):
        python_logging.getLogger(library).setLevel(python_logging.ERROR)


def explain(error: Exception) -> str | None:
    """Message for the user; None for an error that a user cannot mend."""
    text = str(error)
    if isinstance(error, InputError):
        return text
    if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
        return (
            f"TensorFlow is not installed for {sys.executable}: `make setup` makes the environment "
            "and `. .venv/bin/activate` enters it"
        )
    if distributed.is_failure_elsewhere(error):
        return "the run ends, as another process has ended: see its error, or what started it"
    if "No space left on device" in text or getattr(error, "errno", None) == errno.ENOSPC:
        return (
            f"the disk is full: {text.splitlines()[0]}; make room, and run the same command again"
        )
    if isinstance(error, OSError):
        return text
    return _explain_tensorflow(error) if "tensorflow" in sys.modules else None


def _explain_tensorflow(error: Any) -> str | None:
    import tensorflow.compat.v1 as tf

    if isinstance(error, tf.train.NanLossDuringTrainingError):
        return "loss is NaN: lower --learning_rate or lengthen the warm-up"
    if isinstance(error, tf.errors.ResourceExhaustedError):
        first_line = str(error).splitlines()[0]
        return f"out of memory: lower the batch size or --max_seq_length: {first_line}"
    return None
