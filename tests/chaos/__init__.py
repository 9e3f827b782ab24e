"""The deployed fleet under faults: agents killed, calls refused, answers lost, messages doubled, poisoned and lost."""
