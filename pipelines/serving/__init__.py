import os

# onnxruntime reports each session to its maker since 1.29, also on Linux; it asks at its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
