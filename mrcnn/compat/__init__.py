"""What only scripts written for Matterport's Mask_RCNN need, with the old signatures in NumPy.

New code does not need any of it; `MIGRATION.md` names what to use instead. The old names are
re-exported where old scripts look for them: `mrcnn.utils`, `mrcnn.model`.
"""
