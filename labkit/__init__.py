"""labkit: reproducible lab notebooks for confidential computing with Intel TDX and Asterinas."""

__version__ = "0.1.0"

# `from labkit import lab` has the verbs of the notebooks; `import labkit` alone loads none of them.
__all__ = ["__version__", "lab"]
