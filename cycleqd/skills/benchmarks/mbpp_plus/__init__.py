"""MBPP+ (EvalPlus): basic Python programs, judged by many inputs."""
