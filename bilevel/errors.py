"""How bad input is refused: one sentence, raised early."""

from games.errors import require, require_name

__all__ = ["require", "require_name"]
