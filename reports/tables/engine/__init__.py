"""What all tables share: their data, rows, columns and captions, and the function that builds them."""
