"""Readers for files that strangers wrote: configurations, weights, tables, pictures."""
