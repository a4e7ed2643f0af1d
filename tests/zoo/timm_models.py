"""timm models: every module that registers models, and every kind that differs inside a module.

The smallest registered variant of a kind stands for it. Where even that one is large, depth is cut and widths
are left alone: repeated blocks of one shape teach nothing new. Images are as small as each architecture
allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from . import torchvision_stub

BATCH = 2
CLASSES = 10
SIZE = 64

_NAMES: Mapping[str, str] = {
    "beit": "beit_base_patch16_224",
    "byoanet": (
        "lambda_resnet26t botnet26t_256 sebotnet33ts_256 halonet26t eca_halonext26ts haloregnetz_b "
        "halo2botnet50ts_256 lambda_resnet26rpt_256 lamhalobotnet50ts_256"
    ),
    "byobnet": (
        "test_byobnet gernet_s mobileone_s0 mobileone_s4 repvgg_a0 resnet33ts seresnet33ts eca_resnext26ts "
        "gcresnext26ts bat_resnext26ts resnet51q resnet50_clip resnet50_clip_gap resnet50_mlp regnetz_b16 "
        "regnetz_b16_evos regnetz_c16 regnetz_d8"
    ),
    "cait": "cait_xxs24_224",
    "coat": "coat_lite_tiny coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_1024_20_ks9_p14 convmixer_768_32",
    "convnext": (
        "test_convnext3 test_convnext test_convnext2 convnext_zepto_rms convnext_atto_ols convnext_atto_rms "
        "convnext_tiny_hnf convnextv2_atto"
    ),
    "cpubone": "cpubone_nano cpubone_b0_bfrobust cpubone_b1_dwnorm",
    "crossvit": "crossvit_tiny_240 crossvit_9_dagger_240",
    "csatv2": "csatv2",
    "cspnet": (
        "cs3darknet_focus_s cs3darknet_s cs3sedarknet_l cs3sedarknet_xdw cs3se_edgenet_x cspdarknet53 "
        "cspresnet50 cspresnext50 darknet17 darknetaa53"
    ),
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m deepseek_vit_412m_align deepseek_vit_412m_enc",
    "deit": "deit_tiny_patch16_224 deit_tiny_distilled_patch16_224 deit3_small_patch16_224",
    "densenet": "densenet121 densenetblur121d",
    "dla": "dla46x_c dla46_c dla34 dla60_res2net dla60_res2next",
    "dpn": "dpn68b dpn48b dpn68",
    "edgenext": "edgenext_xx_small edgenext_x_small edgenext_small_rw",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": (
        "test_efficientnet test_efficientnet_evos test_efficientnet_gn test_efficientnet_ln efficientnet_b0 "
        "efficientnet_blur_b0 efficientnet_b1_pruned efficientnet_cc_b0_4e efficientnet_es "
        "efficientnet_lite0 efficientnet_h_b5 efficientnet_x_b3 efficientnetv2_rw_t gc_efficientnetv2_rw_t "
        "efficientnetv2_s tf_efficientnetv2_b0 tf_mixnet_s fbnetc_100 mixnet_s mnasnet_small semnasnet_050 "
        "mobilenet_edgetpu_100 mobilenet_edgetpu_v2_xs mobilenetv1_100 mobilenetv2_035 spnasnet_100 "
        "tinynet_e"
    ),
    "efficientvim": "efficientvim_m1 efficientvim_m1_dist",
    "efficientvit_mit": "efficientvit_b0 efficientvit_l1",
    "efficientvit_msra": "efficientvit_m0",
    "eva": (
        "eva02_tiny_patch14_224 eva02_base_patch16_clip_224 eva_giant_patch14_224 vit_small_patch16_dinov3 "
        "vit_tiny_patch16_dinov3_qkvb vit_small_plus_patch16_dinov3 vit_small_patch16_lingbot "
        "vit_base_patch16_sapiens2 vit_small_patch16_rope_224 vit_small_patch16_rope_ape_224 "
        "vit_small_patch16_rope_mixed_224 vit_small_patch16_rope_mixed_ape_224 "
        "vit_medium_patch16_rope_reg1_gap_256 vit_pe_core_tiny_patch16_384 vit_pe_lang_large_patch14_448 "
        "vit_pe_spatial_tiny_patch16_512"
    ),
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8 fastvit_s12 fastvit_sa12 fastvit_mci0",
    "focalnet": "focalnet_tiny_srf focalnet_tiny_lrf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m gemma4_vit_167m_enc",
    "ghostnet": "ghostnet_050 ghostnetv2_100 ghostnetv3_050",
    "hardcorenas": "hardcorenas_a",
    "hgnet": "hgnetv2_b0 hgnet_tiny",
    "hiera": "hiera_tiny_224 hiera_small_abswin_256",
    "hieradet_sam2": "sam2_hiera_tiny hieradet_small",
    "hrnet": "hrnet_w18_small hrnet_w18_ssld",
    "iformer": "iformer_t iformer_m_distilled iformer_l2",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s levit_conv_128s levit_256d levit_384_s8",
    "lowformer": "lowformer_b0 lowformer_e1",
    "mambaout": "test_mambaout mambaout_femto mambaout_kobe",
    "maxxvit": (
        "test_coatnet test_maxvit coatnet_pico_rw_224 coatnet_nano_cc_224 coatnet_rmlp_nano_rw_224 "
        "coatnet_bn_0_rw_224 coatnet_0_224 coatnext_nano_rw_224 maxvit_pico_rw_256 maxvit_rmlp_pico_rw_256 "
        "maxvit_tiny_pm_256 maxvit_tiny_tf_224 maxxvit_rmlp_nano_rw_256 maxxvitv2_nano_rw_256"
    ),
    "metaformer": "poolformer_s12 poolformerv2_s12 convformer_s18 caformer_s18",
    "mlp_mixer": "gmlp_ti16_224 mixer_s32_224 gmixer_12_224 resmlp_12_224",
    "mobilenetv3": (
        "lcnet_035 mobilenetv3_small_050 mobilenetv3_large_075 tf_mobilenetv3_small_075 "
        "tf_mobilenetv3_small_minimal_100 fbnetv3_b mobilenetv4_conv_small_035 mobilenetv4_conv_aa_medium "
        "mobilenetv4_conv_blur_medium mobilenetv4_hybrid_medium_075"
    ),
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs mobilevitv2_050",
    "mvitv2": "mvitv2_tiny mvitv2_small_cls",
    "naflexvit": (
        "naflexvit_base_patch16_gap naflexvit_base_patch16_map naflexvit_base_patch16_par_gap "
        "naflexvit_base_patch16_parfac_gap naflexvit_base_patch16_siglip naflexvit_base_patch16_radio_v3"
    ),
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny nest_tiny_jx",
    "nextvit": "nextvit_small",
    "nfnet": (
        "test_nfnet nfnet_l0 eca_nfnet_l0 nfnet_f0 dm_nfnet_f0 nf_regnet_b0 nf_resnet26 nf_seresnet26 nf_ecaresnet26"
    ),
    "pit": "pit_ti_224 pit_ti_distilled_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0 pvt_v2_b2_li",
    "qwen3_vit": "qwen3_vit_88m qwen3_vit_88m_merge qwen3_vit_88m_enc",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002 regnety_002 regnety_008_tv regnety_040_sgn regnetv_040 regnetz_005",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m0_9 repvit_m1",
    "res2net": "res2next50 res2net50_14w_8s res2net50d",
    "resnest": "resnest14d resnest50d_1s4x24d",
    "resnet": (
        "test_resnet resnet10t resnet18 resnet26t resnet50 resnet50_gn resnet50c resnetaa34d resnetblur18 "
        "resnetrs50 resnext50_32x4d seresnet18 seresnetaa50d seresnext26d_32x4d ecaresnet26t "
        "ecaresnet50d_pruned ecaresnetlight"
    ),
    "resnetv2": ("resnetv2_18 resnetv2_50 resnetv2_50d_gn resnetv2_50d_evos resnetv2_50d_frn resnetv2_50x1_bit"),
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42 selecsls42b",
    "senet": "legacy_seresnet18 legacy_seresnext26_32x4d",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18 skresnet50d skresnext50_32x4d",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_s3_tiny_224 swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224 swinv2_cr_tiny_ns_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_patch16_224 tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m tresnet_v2_l",
    "twins": "twins_pcpvt_small twins_svt_small",
    "vgg": "vgg11 vgg11_bn",
    "visformer": "visformer_tiny",
    "vision_transformer": (
        "test_vit test_vit2 test_vit3 test_vit4 vit_tiny_patch16_224 vit_small_patch8_224 flexivit_small "
        "vit_xsmall_patch16_clip_224 vit_base_patch32_clip_quickgelu_224 vit_base_patch32_siglip_256 "
        "vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2 vit_base_patch14_reg1_tipsv2 "
        "vit_small_patch16_18x2_224 vit_base_patch16_rpn_224 vit_base_patch16_radio_v3 "
        "vit_base_patch16_224_miil vit_medium_patch16_reg4_gap_256 vit_wee_patch16_reg1_gap_256 "
        "vit_pwee_patch16_reg1_gap_256 vit_dwee_patch16_reg1_gap_256 vit_dpwee_patch16_reg1_gap_256 "
        "vit_so150m_patch16_reg4_map_256 vit_so150m2_patch16_reg1_gap_256 vit_intern300m_patch14_448 "
        "aimv2_large_patch14_224 beit3_base_patch16_224 eva_large_patch14_196"
    ),
    "vision_transformer_hybrid": (
        "vit_tiny_r_s16_p8_224 vit_small_r26_s32_224 vit_small_resnet26d_224 vit_base_mci_224"
    ),
    "vision_transformer_relpos": (
        "test_vit_relpos vit_relpos_small_patch16_224 vit_relpos_small_patch16_rpn_224 "
        "vit_relpos_medium_patch16_cls_224 vit_relpos_base_patch16_clsgap_224 vit_srelpos_small_patch16_224"
    ),
    "vision_transformer_sam": "samvit_base_patch16_224 samvit_base_patch16",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw ese_vovnet19b_slim ese_vovnet39b_evos eca_vovnet39b vovnet39a",
    "xception": "legacy_xception",
    "xception_aligned": "xception41 xception41p",
    "xcit": "xcit_nano_12_p16_224 xcit_nano_12_p8_224",
}

FAMILIES: dict[str, tuple[str, ...]] = {module: tuple(names.split()) for module, names in _NAMES.items()}
"""Module under `timm.models` -> names of its models, the cheapest first."""

_SIZES: Mapping[str, int] = {
    "bat_resnext26ts": 256,
    "crossvit_9_dagger_240": 240,
    "crossvit_tiny_240": 240,
    "deepseek_vit_412m": 56,
    "deepseek_vit_412m_align": 56,
    "deepseek_vit_412m_enc": 56,
    "eca_halonext26ts": 256,
    "efficientformer_l1": 224,
    "gemma4_vit_167m_enc": 96,
    "halo2botnet50ts_256": 128,
    "halonet26t": 256,
    "haloregnetz_b": 224,
    "inception_resnet_v2": 96,
    "inception_v3": 96,
    "inception_v4": 96,
    "lamhalobotnet50ts_256": 128,
    "vit_intern300m_patch14_448": 56,
}
"""Height and width of the images, where `SIZE` is too small or does not divide."""

_LARGE = (
    "aimv2_large_patch14_224 beit3_base_patch16_224 beit_base_patch16_224 deepseek_vit_412m "
    "eva02_base_patch16_clip_224 eva_giant_patch14_224 eva_large_patch14_196 gemma4_vit_167m "
    "gemma4_vit_167m_enc naflexvit_base_patch16_gap naflexvit_base_patch16_map "
    "naflexvit_base_patch16_par_gap naflexvit_base_patch16_parfac_gap naflexvit_base_patch16_radio_v3 "
    "naflexvit_base_patch16_siglip qwen3_vit_88m qwen3_vit_88m_enc qwen3_vit_88m_merge "
    "samvit_base_patch16 samvit_base_patch16_224 vit_base_mci_224 vit_base_patch14_reg1_tipsv2 "
    "vit_base_patch16_224_miil vit_base_patch16_radio_v3 vit_base_patch16_rpn_224 "
    "vit_base_patch32_clip_quickgelu_224 vit_base_patch32_siglip_256 vit_intern300m_patch14_448 "
    "vit_pe_lang_large_patch14_448 vit_relpos_base_patch16_clsgap_224 vit_small_patch16_18x2_224 "
    "vit_small_resnet26d_224 vit_so150m2_patch16_reg1_gap_256 vit_so150m_patch16_reg4_map_256"
)
"""Models whose smallest variant is too large; two blocks of them will do."""

_SHALLOW: Mapping[str, Any] = {"depth": 2}
_NARROW_PROJECTION: Mapping[str, Any] = {"depth": 2, "out_features": 320}

_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    **dict.fromkeys(_LARGE.split(), _SHALLOW),
    "deepseek_vit_412m_align": _NARROW_PROJECTION,
    "deepseek_vit_412m_enc": _NARROW_PROJECTION,
    "vgg11": {"mlp_ratio": 1 / 16},
    "vgg11_bn": {"mlp_ratio": 1 / 16},
    "vit_base_patch16_sapiens2": {"depth": 3, "num_kv_heads": (12, 6, 12)},
}
"""Constructor arguments that make a large model small."""


def build(name: str) -> tuple[nn.Module, tuple[Tensor]]:
    """A model with random weights and a batch of images."""
    torchvision_stub.install()
    import timm

    size = _SIZES.get(name, SIZE)
    options = dict(_OPTIONS.get(name, {}))
    if timm.get_pretrained_cfg_value(name, "fixed_input_size"):
        options["img_size"] = size
    model = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
    return model, (torch.randn(BATCH, 3, size, size),)
