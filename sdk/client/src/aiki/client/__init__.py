"""Start, watch and steer runs from outside."""
