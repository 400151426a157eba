"""The documented Asterinas flow in its development container: engine, source, image, run."""
