"""The umbrella: all that a program needs to define and run workflows."""
