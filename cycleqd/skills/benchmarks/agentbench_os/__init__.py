"""AgentBench's shell tasks: questions about, and changes of, a Debian or Ubuntu system."""
