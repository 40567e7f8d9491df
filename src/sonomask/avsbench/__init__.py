"""What AVSBench itself fixes: file names, folders, classes and colours."""
