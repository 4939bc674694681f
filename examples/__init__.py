"""Programs that show Aiki at work."""
