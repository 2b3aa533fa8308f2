"""An example of a skill that lives in a package of its own; `skill` has the class."""
