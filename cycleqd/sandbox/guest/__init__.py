"""Programs that run inside the containers, as their first process, and answer requests.

A guest's source is sent over the container's standard input when it starts, so no image is ever out of date. A guest
therefore imports nothing but the standard library of Debian's Python 3.11 (`shell`: of python3-minimal's size).

Protocol, both ways one JSON object a line: a request carries a random ``id``; the reply to it carries the same. A
line without an id that is waited for is ignored, so nothing that runs beside the guest can answer in its place.
"""
