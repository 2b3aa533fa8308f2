"""What a process tells about itself while it works: events for logs, counters and durations for Prometheus."""
