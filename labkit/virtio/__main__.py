"""The process of a machine's devices; it ends when its owner does, or when its machine's group is ended."""

from __future__ import annotations

import sys

from labkit.virtio.process import main

main(sys.argv[1:])
