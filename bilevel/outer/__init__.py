"""What is learned above: sharing matrices, what the outer level wants, and what giving costs."""
