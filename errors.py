"""The one exception for what a user can put right."""


class InputError(ValueError):
    """A flag, file or record that cannot be used, with a message of one line.

    The message names the file, the place in it (line, question id, record number) and what to do
    about it. Scripts print it and exit with code 1, without a traceback.
    """
