"""A tiny pipeline that draws classes, with random weights, in a folder: what commands are tried on."""

import torch
from diffusers import AutoencoderKL, DiTPipeline, DiTTransformer2DModel


def classes(folder, scheduler):
    """Folder of the pipeline, and a file of three classes."""
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "sample_size": 16}
    channels = {"in_channels": 4, "out_channels": 8, "norm_num_groups": 4, "num_embeds_ada_norm": 1000}
    pipe = DiTPipeline(DiTTransformer2DModel(**sizes, **channels), AutoencoderKL(latent_channels=4), scheduler)
    pipe.save_pretrained(folder / "pipe")
    (folder / "classes.txt").write_text("3\n8\n207\n")
    return folder / "pipe", folder / "classes.txt"


def without_eights(original):
    """The pipeline's call, which one class makes fail."""

    def call(self, class_labels, guidance_scale=4.0, generator=None, num_inference_steps=50, output_type="pil"):
        if class_labels == [8]:
            raise RuntimeError("out of eights")
        return original(self, class_labels, guidance_scale, generator, num_inference_steps, output_type)

    return call
