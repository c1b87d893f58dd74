"""Who asks, and whether they may: trust as the Kubernetes API machinery has it."""
