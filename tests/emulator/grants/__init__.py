"""Every grant of every role, taken away to see that something needs it."""
