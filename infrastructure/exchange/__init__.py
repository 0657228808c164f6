"""Histories that leave the store and come back: the formats in which others read and write them."""
