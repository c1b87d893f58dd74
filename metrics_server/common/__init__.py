"""Small parts that any module may use."""
