"""Executable documentation: notebooks run through papermill and published as HTML."""
