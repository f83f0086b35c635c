"""Files: atomic, checked, never pickled."""
