"""Downloads of published models and data sets: fetching, unpacking, checking.

Imports the checks of tasks and runs. Imported by the scripts of `download/`.
"""
