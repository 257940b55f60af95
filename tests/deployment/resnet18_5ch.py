"""A deployment config of CalibrationStatus, in the form that AWML's have."""
# ruff: noqa: C408  dict(...) is the form

export = dict(mode="onnx", verify=True, device="cpu")

runtime_io = dict(info_pkl=None, sample_idx=0, onnx_file=None)

codebase_config = dict(type="mmpretrain", task="Classification", model_type="end2end")

backend_config = dict(
    type="tensorrt",
    common_config=dict(max_workspace_size=1 << 30, precision_policy="fp32_tf32"),
    model_inputs=[
        dict(
            input_shapes=dict(
                input=dict(
                    min_shape=[1, 5, 64, 112],
                    opt_shape=[6, 5, 64, 112],
                    max_shape=[24, 5, 64, 112],
                ),
            )
        )
    ],
)

onnx_config = dict(
    type="onnx",
    export_params=True,
    keep_initializers_as_inputs=False,
    opset_version=16,
    do_constant_folding=True,
    save_file="end2end.onnx",
    input_names=["input"],
    output_names=["output"],
    dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
    input_shape=None,
)

evaluation = dict(enabled=True, num_samples=4, verbose=True, models=dict(pytorch=None, onnx=None))
