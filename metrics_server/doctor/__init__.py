"""Finds out why an HPA gets no GPU metric, and what to do about it; it only reads."""
