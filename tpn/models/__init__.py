"""The networks: backbones, the TPN neck, the head, and their weights."""
