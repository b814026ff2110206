"""Record files, their manifests, the datasets that read them, and worker processes."""
