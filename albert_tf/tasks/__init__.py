"""Tasks: the interface of a run to a task, and a package for each kind."""
