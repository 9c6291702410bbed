"""Problems with several losses whose weights are learned: each a task with data, model and measure."""
