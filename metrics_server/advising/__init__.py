"""Advice about HPAs that cannot work as written."""
