"""Move the weights of one library's network into another library's network of the same architecture.

python examples/transplant_between_libraries.py

Nobody wrote a conversion table: the two graphs are matched, fused and separate projections included. When nothing is
left out, the outputs are the same.

Prints:

    blocks.0.attn.qkv.weight [192, 64] <- vit.layers.0.attention.k_proj.weight [64, 64]
      fills 64:128, 0:64
    initialised 100 %; largest difference between the outputs: 0.0e+00
"""

from __future__ import annotations

import timm
import torch
from transformers import ViTConfig, ViTForImageClassification

import wsel_graph as ws


def main() -> float:
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = ViTConfig(**sizes, image_size=64, patch_size=16, layer_norm_eps=1e-6, num_labels=5)
    source = ViTForImageClassification(config).eval()
    target = timm.models.VisionTransformer(
        img_size=64, patch_size=16, embed_dim=64, depth=3, num_heads=2, num_classes=5
    ).eval()

    images = torch.randn(2, 3, 64, 64)
    result = ws.initialize(target, source, images)
    print(result.plan.explain("blocks.0.attn.qkv.weight"))

    with torch.no_grad():
        difference = (source(images).logits - target(images)).abs().max().item()
    print(f"initialised {100 * result.coverage:.0f} %; largest difference between the outputs: {difference:.1e}")
    return difference


if __name__ == "__main__":
    main()
