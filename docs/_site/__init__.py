"""What the site makes of the package itself: its names, its command, its pictures and its notebooks."""
