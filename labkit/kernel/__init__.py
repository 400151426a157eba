"""The Jupyter kernel that runs cells inside the guest."""
