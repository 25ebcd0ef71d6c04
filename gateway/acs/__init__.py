"""The wire format of Azure Communication Services media streaming, without I/O."""
