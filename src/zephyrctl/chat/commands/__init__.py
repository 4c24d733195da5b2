"""What can be typed after a slash in a chat? One function per command, by theme."""
