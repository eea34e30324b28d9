"""The convolutional families of timm, each by one small representative."""

TIMM_NAMES = [
    f"timm:{name}"
    for name in """
    resnet10t resnet18 resnet26d resnetaa34d resnetblur18 seresnet18 ecaresnet26t skresnet18
    resnest14d gernet_s regnetx_002 regnety_002 regnetz_005 efficientnet_b0 tf_efficientnet_b0
    tf_efficientnet_lite0 efficientnet_es tf_efficientnetv2_b0 mixnet_s tf_mixnet_s mnasnet_small
    mobilenetv1_100 mobilenetv2_050 mobilenetv3_small_050 tf_mobilenetv3_small_minimal_100
    mobilenetv4_conv_small spnasnet_100 fbnetc_100 fbnetv3_b semnasnet_075 hardcorenas_a lcnet_050
    tinynet_e ghostnet_050 ghostnetv2_100 repvgg_a0 repghostnet_050 mobileone_s0 hrnet_w18_small
    dla34 dla46x_c vovnet39a ese_vovnet19b_dw nf_regnet_b0 nf_resnet26 eca_nfnet_l0 dm_nfnet_f0
    convnext_atto convnextv2_atto densenet121 densenetblur121d dpn48b selecsls42 tresnet_m
    cspresnet50 cspdarknet53 darknet53 inception_v3 inception_v4 inception_resnet_v2 xception41
    legacy_xception resnext26ts res2net50_14w_8s senet154 sebotnet33ts_256 lambda_resnet26t
    halonet26t bat_resnext26ts resnetv2_50 resnetv2_50x1_bit cs3darknet_s hgnet_tiny hgnetv2_b0
    rexnet_100 inception_next_atto vgg11_bn pnasnet5large nasnetalarge
    mobilevit_xxs edgenext_xx_small efficientvit_b0 fastvit_t8 repvit_m0_9 starnet_s1 levit_conv_128s
    poolformerv2_s12 convmixer_768_32 focalnet_tiny_srf visformer_tiny coat_tiny crossvit_9_240
    mambaout_femto test_resnet test_efficientnet test_byobnet test_convnext test_nfnet
    """.split()
]
