"""A proxy that only forwards, in a process of its own: ``python -m tests.drill.gate TARGET PORT``."""

import sys
import threading

from tests.s3.faulty_proxy import FaultyProxy

if __name__ == "__main__":
    target, port = map(int, sys.argv[1:])
    with FaultyProxy(target, share=0.0, port=port):
        print("open", flush=True)
        threading.Event().wait()
