"""What each metric means, as data."""
