"""The default detector: Faster R-CNN on EfficientNet-Lite0 with ImageNet weights, for CPUs and few labels.

FPN of 64 channels, a 256-wide head and few proposals: with the default 1000 proposals and 1024-wide head,
the head takes most of the time.
"""

_base_ = "./base.py"

image_size = (480, 480)

# Of the ImageNet training of the backbone.
data_preprocessor = dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0])

model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        _delete_=True,
        type="TimmBackbone",
        name="tf_efficientnet_lite0",
        frozen_stages=1,
    ),
    neck=dict(in_channels=[24, 40, 112, 320], out_channels=64),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # Half the usual anchor size: 16 px on P2, for parts of 15 to 50 px in a small frame.
        anchor_generator=dict(scales=[4]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=28),
        # One regression for all classes: AP is not worse than with one for each (docs/results).
        bbox_head=dict(in_channels=64, fc_out_channels=256, reg_class_agnostic=True),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=400, max_per_img=200),
        # Half of the RoIs are parts: the classes are harder to learn than the background.
        rcnn=dict(sampler=dict(num=64, pos_fraction=0.5)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=100),
    ),
)

# Half the learning rate of the pretraining: a cycle only adapts the model.
fine_tune_lr = 5e-4

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4),
    clip_grad=dict(max_norm=10, norm_type=2),
)
