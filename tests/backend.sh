#!/usr/bin/env bash
# The tests that every backend has to pass, in about two minutes: operations, layers, one golden
# image, one training step and one detection. Run it with KERAS_BACKEND=jax or KERAS_BACKEND=torch.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python -m pytest tests/ops tests/network/test_layers.py tests/network/test_losses.py tests/test_backends.py
python -m pytest tests/weights/test_goldens.py -k torchvision_0
