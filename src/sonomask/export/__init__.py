"""Models as files that run without this package: ONNX and torch.export, and a back end that runs such a file here."""
