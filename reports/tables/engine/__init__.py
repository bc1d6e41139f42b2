"""What all tables share: what a table is, its rows and columns, its caption, and the building of all of them."""
