"""One file for each format of a book; each yields text."""
