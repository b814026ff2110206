"""Record files with their manifests, the data sets that read them, and worker processes.

Imports nothing of the project but `errors`. Imported by runs, and by scripts that make records.
"""
