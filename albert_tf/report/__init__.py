"""The report page: blocks that describe it, figures, templates.

Runs and tasks say what a page shows by the blocks of `blocks.py`; nothing here knows a task.
"""
