"""Files, JSON, tables and errors: what everything else reads and writes with."""
