"""Large payloads through a worker, and how long they keep its loop."""
