"""Advice about HPAs that cannot work as they are written."""
