"""What is done to ONNX graphs without PyTorch.

`export` does it before a file is written, `deploy` to a file that is there.
"""
