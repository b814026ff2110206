"""Downloads of published models and datasets: fetching, unpacking, checking.

Imports the input checks of tasks and runs. Imported by the scripts in `download/`.
"""
