"""THE CONTRACT between gateways and workers: the bytes on the bus and in the log."""
