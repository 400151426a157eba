"""The software model of the TDX module and platform."""
