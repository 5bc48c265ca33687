"""What a comparison shows: the numbers as plain data, the figures and the page."""
