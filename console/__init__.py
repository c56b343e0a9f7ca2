"""What the command line shows and reads: sentences, help, options derived from config.py, progress."""
