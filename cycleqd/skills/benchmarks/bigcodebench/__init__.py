"""BigCodeBench: programs that call libraries, judged by unit tests in an image that has them."""
