"""The names of Matterport's `mrcnn.model`, other than `MaskRCNN`."""

from mrcnn.compat.backbone import BatchNorm, conv_block, identity_block, resnet_graph
from mrcnn.compat.generator import (
    compute_backbone_shapes,
    data_generator,
    load_image_gt,
)
from mrcnn.compat.graph import (
    DetectionLayer,
    DetectionTargetLayer,
    ProposalLayer,
    PyramidROIAlign,
    build_fpn_mask_graph,
    build_rpn_model,
    detection_targets_graph,
    fpn_classifier_graph,
    refine_detections_graph,
    rpn_graph,
)
from mrcnn.compat.images import (
    compose_image_meta,
    mold_image,
    parse_image_meta,
    parse_image_meta_graph,
    unmold_image,
)
from mrcnn.compat.losses import (
    mrcnn_bbox_loss_graph,
    mrcnn_class_loss_graph,
    mrcnn_mask_loss_graph,
    rpn_bbox_loss_graph,
    rpn_class_loss_graph,
    smooth_l1_loss,
)
from mrcnn.compat.model import log
from mrcnn.compat.targets import (
    build_detection_targets,
    build_rpn_targets,
    generate_random_rois,
)
from mrcnn.compat.tensors import (
    apply_box_deltas_graph,
    batch_pack_graph,
    clip_boxes_graph,
    denorm_boxes_graph,
    log2_graph,
    norm_boxes_graph,
    overlaps_graph,
    trim_zeros_graph,
)

__all__ = [
    "BatchNorm",
    "DetectionLayer",
    "DetectionTargetLayer",
    "ProposalLayer",
    "PyramidROIAlign",
    "apply_box_deltas_graph",
    "batch_pack_graph",
    "build_detection_targets",
    "build_fpn_mask_graph",
    "build_rpn_model",
    "build_rpn_targets",
    "clip_boxes_graph",
    "compose_image_meta",
    "compute_backbone_shapes",
    "conv_block",
    "data_generator",
    "denorm_boxes_graph",
    "detection_targets_graph",
    "fpn_classifier_graph",
    "generate_random_rois",
    "identity_block",
    "load_image_gt",
    "log",
    "log2_graph",
    "mold_image",
    "mrcnn_bbox_loss_graph",
    "mrcnn_class_loss_graph",
    "mrcnn_mask_loss_graph",
    "norm_boxes_graph",
    "overlaps_graph",
    "parse_image_meta",
    "parse_image_meta_graph",
    "refine_detections_graph",
    "resnet_graph",
    "rpn_bbox_loss_graph",
    "rpn_class_loss_graph",
    "rpn_graph",
    "smooth_l1_loss",
    "trim_zeros_graph",
    "unmold_image",
]
