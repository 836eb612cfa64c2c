"""Words that a command may begin with, a file each: `main(words)`, which returns the exit code. Nothing is counted here."""
