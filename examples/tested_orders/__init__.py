"""A project with its tests: see `test_orders.py`."""
