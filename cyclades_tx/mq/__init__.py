"""The broker: its protocol, queues and consumers, and the same in memory."""
