"""Random command lines, and damaged or forged run folders: none may show a traceback or hang."""
