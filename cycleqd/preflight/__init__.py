"""What is checked before hours are spent: the machine, the data, and whether the base can be trained and served."""
