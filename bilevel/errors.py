"""How bad input is refused: one sentence, raised early (the ground floor has the code)."""

from games.errors import require, require_name

__all__ = ["require", "require_name"]
