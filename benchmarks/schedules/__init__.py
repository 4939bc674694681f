"""The benchmark of schedules: very many that are due at the same instants."""
