"""Execute workflows and tasks in a process of the user's own."""
