"""The web page: HTML from the server, and one script that keeps it fresh."""
