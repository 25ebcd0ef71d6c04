"""The front process, and the contract that it publishes to the workers (`wire`, `bus`)."""
