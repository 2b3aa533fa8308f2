"""AgentBench's database tasks: questions and changes through SQL."""
