"""Record files, their manifests, the datasets that read them, and worker processes.

Imports only `errors` and `files` from the project. Imported by runs and by scripts that write
records.
"""
