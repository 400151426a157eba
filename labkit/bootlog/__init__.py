"""A boot log becomes stages, and a verdict with its remedy: Linux, Asterinas, and any guest with a prompt."""
