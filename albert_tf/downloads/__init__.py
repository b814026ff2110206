"""Downloads of published models and data sets: fetching, unpacking, checking.

Imports the input checks of tasks and runs. Imported by the scripts in `download/`.
"""
