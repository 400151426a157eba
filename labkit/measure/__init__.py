"""Measurement: TDVF metadata, MRTD, event logs and their replay."""
