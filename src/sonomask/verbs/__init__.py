"""The words of the command line: each verb is a function, its signature the options and their help."""
