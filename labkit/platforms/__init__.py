"""Where a TDVM runs: real hardware or the emulated platform."""
