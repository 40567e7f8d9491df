"""Constants of AVSBench: file names, folders, classes and colours."""
