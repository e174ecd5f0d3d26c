"""Arrays in, numbers out: knows neither tables nor roles."""
