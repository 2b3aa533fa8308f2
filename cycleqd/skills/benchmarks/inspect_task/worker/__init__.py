"""Plays tasks of inspect_ai in a process of its own, and asks the process that started it for everything else.

Any interpreter that has inspect_ai runs these modules: they import the standard library, inspect_ai and each other.
The process (`main`) reads commands from standard input and writes events to standard output, a JSON object a line
(`link`):

* ``describe`` is answered by ``described`` (the samples and what the task needs) or ``fault``;
* ``play`` starts samples. Each asks for replies (``ask``), acts in its sandbox (``act``), and ends with ``scored`` or
  ``failed``. ``reply``, ``limit`` and ``acted`` are the answers. ``played`` names the log when all have ended;
  ``refused`` says why the task cannot be played here.

inspect_ai runs solvers, tools, scorers and the log. The model and the sandbox of a task are stand-ins (`stand_ins`):
they send on what they are asked. A model that calls tools as text gets inspect_ai's own emulation of tool calls.
"""
