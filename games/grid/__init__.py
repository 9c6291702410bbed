"""What grid games share: maps, moves, beams, views and frames."""
