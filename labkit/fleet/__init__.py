"""The facts of many hosts as one table."""
