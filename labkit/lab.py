"""The notebook-facing verbs."""
