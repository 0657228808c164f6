"""The HTTP face (extra ``web``): API, live streams, pages, and the server behind `lastword serve`."""
