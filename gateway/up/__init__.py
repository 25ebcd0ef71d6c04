"""One node's parent process: starts, watches and drains its processes; serves the admin page."""
