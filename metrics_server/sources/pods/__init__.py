"""Measures pods from their own metrics pages."""
