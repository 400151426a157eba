"""What guests make of a host that lies through virtio devices: booted, and recorded where one cannot be."""
