"""Functions that only scripts written for Matterport's Mask_RCNN need, with their old signatures.

New code does not need them; `MIGRATION.md` names what to use instead. The old names are
re-exported where old scripts look for them, in `mrcnn.utils` and `mrcnn.model`.
"""
