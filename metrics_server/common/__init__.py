"""Small parts that any other may use."""
