"""What learns below: policies stacked over seeds and agents, returns, surrogate losses, ways to play."""
