"""Moving messages between gateways and workers: ZeroMQ, or memory in tests."""
