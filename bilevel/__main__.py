"""`python -m bilevel` is `bilevel`."""

from __future__ import annotations

from bilevel.cli import main

if __name__ == "__main__":
    main()
