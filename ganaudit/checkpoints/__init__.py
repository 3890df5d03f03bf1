"""Reading and writing checkpoints; nothing in a file is ever executed."""
