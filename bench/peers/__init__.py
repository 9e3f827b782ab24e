"""The same fan-out and fan-in on other people's task queues, measured in the same way on the same machine."""
