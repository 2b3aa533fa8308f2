"""What a process tells about itself while it works.

`events` writes one line of the log per event, with the ids of run, generation, individual and skill. `metrics` counts
and times for Prometheus, in the OpenMetrics format.

Public: `events.event` and `events.about`; the functions of `metrics`.
"""
