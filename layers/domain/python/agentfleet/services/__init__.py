"""What the system does, in the words of the domain: one module per use case."""
