"""The facts of many hosts as one table, and how they are collected."""
