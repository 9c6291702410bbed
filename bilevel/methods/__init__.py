"""Methods: one file each, a few dozen lines over the same parts."""
