"""How a process shows what it does: metrics, logs, health over HTTP, and how it stops."""
