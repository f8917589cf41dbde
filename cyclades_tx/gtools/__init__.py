"""The Ganeti side: what runs on a Ganeti node and tells what happens there."""
