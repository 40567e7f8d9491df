"""The page and the REST service: one queue of jobs behind both."""
