"""The paper's detector: R50-FPN at 640x360, fine-tuned from a COCO checkpoint with plain SGD.

Source: Eversberg & Lambrecht 2024, section 3.3.
"""

_base_ = "./base.py"

fine_tune_lr = 1e-5

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=1e-5, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
