"""Foreign formats, in and out. Foreign names live only here."""
