"""What can be served: the interface, the registry, one file per task family."""
