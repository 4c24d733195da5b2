"""The command line: parse, call one thing, print. Nothing heavy is imported before a command."""
