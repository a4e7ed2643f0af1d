"""Which large model fills which small one: names in timm and torchvision, and pairs between families.

One line per pair, `teacher student`, under the family's name. All are the configurations that their authors published.
"""

from __future__ import annotations

from collections.abc import Iterator

TIMM = """
vit: vit_small_patch16_224 vit_tiny_patch16_224
vit: vit_base_patch16_224 vit_small_patch16_224
vit: vit_large_patch16_224 vit_tiny_patch16_224
vit: vit_huge_patch14_224 vit_base_patch16_224
vit: vit_small_patch16_384 vit_tiny_patch16_224
deit: deit_base_distilled_patch16_224 deit_tiny_distilled_patch16_224
deit: deit3_large_patch16_224 deit3_small_patch16_224
convnext: convnext_tiny convnext_femto
convnext: convnext_base convnext_nano
convnext: convnext_large convnext_tiny
convnext: convnextv2_tiny convnextv2_atto
convnext: convnextv2_base convnextv2_pico
swin: swin_base_patch4_window7_224 swin_tiny_patch4_window7_224
swin: swin_large_patch4_window12_384 swin_tiny_patch4_window7_224
swin: swinv2_base_window8_256 swinv2_tiny_window8_256
swin: swinv2_cr_small_224 swinv2_cr_tiny_224
resnet: resnet34 resnet18
resnet: resnet50 resnet26
resnet: resnet101 resnet50
resnet: resnet50d resnet26d
resnet: wide_resnet50_2 resnet50
resnet: resnext101_32x4d resnext50_32x4d
resnet: resnetv2_101 resnetv2_50
resnet: seresnet50 seresnet18
efficientnet: efficientnet_b3 efficientnet_b0
efficientnet: efficientnet_b7 efficientnet_b0
efficientnet: efficientnetv2_l efficientnetv2_s
efficientnet: tf_efficientnetv2_b3 tf_efficientnetv2_b0
mobilenet: mobilenetv2_140 mobilenetv2_050
mobilenet: mobilenetv3_large_100 mobilenetv3_small_100
mobilenet: mobilenetv3_large_100 mobilenetv3_large_075
mobilenet: mobilenetv4_conv_large mobilenetv4_conv_medium
regnet: regnety_032 regnety_004
regnet: regnety_320 regnety_120
regnet: regnetx_160 regnetx_008
regnet: regnetx_320 regnetx_160
maxvit: maxvit_base_tf_224 maxvit_tiny_tf_224
maxvit: maxvit_small_tf_224 maxvit_tiny_tf_224
mlp: mixer_l16_224 mixer_b16_224
mlp: mixer_b16_224 mixer_s16_224
mlp: resmlp_24_224 resmlp_12_224
mlp: gmlp_b16_224 gmlp_s16_224
beit: beit_large_patch16_224 beit_base_patch16_224
beit: beitv2_large_patch16_224 beitv2_base_patch16_224
eva: eva02_small_patch14_224 eva02_tiny_patch14_224
eva: eva02_large_patch14_clip_224 eva02_base_patch16_clip_224
dino: vit_large_patch14_dinov2 vit_small_patch14_dinov2
dino: vit_base_patch14_reg4_dinov2 vit_small_patch14_reg4_dinov2
dino: vit_large_patch16_dinov3 vit_small_patch16_dinov3
siglip: vit_large_patch16_siglip_256 vit_base_patch16_siglip_224
cait: cait_s24_224 cait_xxs24_224
xcit: xcit_medium_24_p16_224 xcit_tiny_12_p16_224
pvt: pvt_v2_b5 pvt_v2_b0
metaformer: poolformer_m48 poolformer_s12
metaformer: caformer_m36 caformer_s18
davit: davit_base davit_tiny
focalnet: focalnet_base_srf focalnet_tiny_srf
edgenext: edgenext_base edgenext_xx_small
mobilevit: mobilevit_s mobilevit_xxs
mobilevit: mobilevitv2_200 mobilevitv2_050
efficientformer: efficientformer_l7 efficientformer_l1
fastvit: fastvit_sa36 fastvit_sa12
nest: nest_base nest_tiny
twins: twins_svt_large twins_svt_small
crossvit: crossvit_base_240 crossvit_tiny_240
levit: levit_384 levit_128
tiny_vit: tiny_vit_21m_224 tiny_vit_5m_224
densenet: densenet161 densenet121
vgg: vgg16_bn vgg11_bn
hrnet: hrnet_w48 hrnet_w18
ghostnet: ghostnet_130 ghostnet_050
repvgg: repvgg_b1 repvgg_a0
nfnet: nfnet_f1 nfnet_f0
volo: volo_d3_224 volo_d1_224
hiera: hiera_large_224 hiera_tiny_224
repvit: repvit_m2_3 repvit_m0_9
inception_next: inception_next_base inception_next_tiny
gcvit: gcvit_base gcvit_xxtiny
sequencer: sequencer2d_l sequencer2d_s
rexnet: rexnet_200 rexnet_100
coatnet: coatnet_2_rw_224 coatnet_0_rw_224
"""

TORCHVISION = """
vit: vit_l_16 vit_b_16
resnet: resnet152 resnet50
resnet: resnext101_32x8d resnext50_32x4d
convnext: convnext_large convnext_tiny
swin: swin_b swin_t
swin: swin_v2_b swin_v2_t
efficientnet: efficientnet_b4 efficientnet_b0
efficientnet: efficientnet_v2_l efficientnet_v2_s
mobilenet: mobilenet_v3_large mobilenet_v3_small
regnet: regnet_y_8gf regnet_y_400mf
densenet: densenet201 densenet121
vgg: vgg16 vgg11
shufflenet: shufflenet_v2_x2_0 shufflenet_v2_x0_5
mnasnet: mnasnet1_3 mnasnet0_5
video: swin3d_b swin3d_t
segmentation: deeplabv3_resnet101 deeplabv3_resnet50
"""

ACROSS_LIBRARIES = """
vit: timm/vit_large_patch16_224 torchvision/vit_b_16
vit: torchvision/vit_l_16 timm/vit_tiny_patch16_224
vit: timm/vit_base_patch16_224 transformers/vit_tiny
vit: transformers/vit_large timm/vit_small_patch16_224
convnext: torchvision/convnext_base timm/convnext_femto
convnext: transformers/convnext_base timm/convnext_tiny
resnet: torchvision/resnet101 timm/resnet26
resnet: timm/resnet101 transformers/resnet_50
swin: timm/swin_base_patch4_window7_224 torchvision/swin_t
swin: transformers/swin_large timm/swin_tiny_patch4_window7_224
dino: transformers/dinov2_large timm/vit_small_patch14_dinov2
clip: transformers/clip_vision_large timm/vit_base_patch32_clip_quickgelu_224
bert: transformers/roberta_large transformers/bert_mini
llama: transformers/mistral_7b transformers/tinyllama_1b
llama: transformers/phi3_mini transformers/tinyllama_1b
"""
"""One family, two implementations."""

ACROSS_FAMILIES = """
conv: timm/convnext_tiny timm/resnet50
conv: timm/resnet50 timm/regnety_004
conv: timm/efficientnet_b0 timm/mobilenetv3_small_100
patches: timm/vit_small_patch16_224 timm/mixer_s16_224
patches: timm/vit_base_patch16_224 timm/cait_xxs24_224
patches: timm/swin_base_patch4_window7_224 timm/vit_tiny_patch16_224
patches: timm/convnext_tiny timm/swin_tiny_patch4_window7_224
text: transformers/bert_large transformers/gpt2
text: transformers/llama_7b transformers/gpt2
text: transformers/t5_large transformers/bert_mini
"""
"""Two families: what has no counterpart keeps its own values."""


def lines(table: str) -> Iterator[tuple[str, str, str]]:
    """Family, teacher, student.

    >>> list(lines("vit: large small"))
    [('vit', 'large', 'small')]
    """
    for line in table.strip().splitlines():
        family, _, names = line.partition(": ")
        teacher, student = names.split()
        yield family, teacher, student
