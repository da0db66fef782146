"""The dialect of new training: the paper with current settings.

Anchors sit at the centers of cells, where half-pixel aligned RoIAlign has them. Smooth L1 has the
beta of 1/9 that torchvision and the first Detectron use.
"""

from __future__ import annotations

from mrcnn.dialects import Dialect

DIALECTS = (Dialect(name="standard"),)
