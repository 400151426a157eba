"""Virtual machines: what to boot, QEMU, its console, snapshots and timeline."""
