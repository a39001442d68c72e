"""A document page, and checkpoints of PP-DocLayoutV3 that nobody trained.

As transformers initialises them, all their answers are one and the same. Here every layer passes
on what it gets, so that places, scores, masks and the order differ, and with them every answer.
"""

import io
import math
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from transformers import (
    HGNetV2Config,
    PPDocLayoutV3Config,
    PPDocLayoutV3ForObjectDetection,
    PPDocLayoutV3ImageProcessor,
)

LABELS = [
    "abstract", "algorithm", "aside_text", "chart", "content", "display_formula", "doc_title",
    "figure_title", "footer", "footer_image", "footnote", "formula_number", "header",
    "header_image", "image", "inline_formula", "number", "paragraph_title", "reference",
    "reference_content", "seal", "table", "text", "vertical_text", "vision_footnote",
]  # fmt: skip


def draw_page(width: int = 600, height: int = 800, seal: str = "red") -> Image.Image:
    """Return a page with a title, two columns of text, a picture and a seal."""
    page = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(page)

    def place(left: float, top: float, right: float, bottom: float) -> tuple[float, ...]:
        return left * width, top * height, right * width, bottom * height

    pen.text((0.3 * width, 0.05 * height), "On Layout", fill="black", font_size=height // 20)
    for left in (0.08, 0.53):
        for line in range(20):
            top = 0.14 + 0.022 * line
            pen.rectangle(place(left, top, left + 0.37, top + 0.01), fill=(40, 40, 40))
    pen.rectangle(place(0.1, 0.65, 0.9, 0.92), fill=(90, 140, 200))
    pen.ellipse(place(0.6, 0.7, 0.8, 0.85), fill=seal)
    return page


def png(page: Image.Image) -> bytes:
    """Return the page as a file."""
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return buffer.getvalue()


def tiny() -> PPDocLayoutV3Config:
    """Return a configuration with everything there is, and little of it."""
    backbone = HGNetV2Config(
        stem_channels=[3, 8, 16], embedding_size=16, hidden_sizes=[16, 32, 64, 64],
        depths=[1, 1, 1, 1], stage_in_channels=[16, 16, 32, 64], stage_mid_channels=[8, 8, 16, 16],
        stage_out_channels=[16, 32, 64, 64], stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[1, 1, 1, 1], return_idx=[0, 1, 2, 3],
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    return PPDocLayoutV3Config(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[32, 64, 64],
        encoder_ffn_dim=64, encoder_attention_heads=4, mask_feature_channels=[16, 16],
        x4_feat_dim=16, d_model=32, num_prototypes=8, num_queries=30,
        decoder_in_channels=[32, 32, 32], decoder_ffn_dim=64, decoder_layers=2,
        decoder_attention_heads=4, num_denoising=0, global_pointer_head_size=8,
        id2label=dict(enumerate(LABELS)),
    )  # fmt: skip


def full() -> PPDocLayoutV3Config:
    """Return the configuration as published."""
    return PPDocLayoutV3Config(id2label=dict(enumerate(LABELS)))


def save_checkpoint(folder: Path, config: PPDocLayoutV3Config, side: int) -> Path:
    """Write a checkpoint as the hub has it; return the path of its weights.

    Args:
        folder: is made.
        config: of the network.
        side: of the square that the network gets.
    """
    torch.manual_seed(0)
    network: Any = PPDocLayoutV3ForObjectDetection(config)
    processor: Any = PPDocLayoutV3ImageProcessor(size={"height": side, "width": side})
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=math.sqrt(2 / parameter[0].numel()))
            # Else nearly every edge would be one of the page's, and every mask a tie.
            if "bbox" in name:
                parameter.mul_(0.5)
            elif "mask_query" in name:
                parameter.mul_(2)
        norms = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None
            norm.train()
        network(**processor(images=[draw_page()], return_tensors="pt"))
    network.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder / "model.safetensors"
