"""Tiny random detectors and refiners, saved in the hub's format."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ["[PAD]", "[UNK]", "[MASK]", "a", "red", "roof", "ship", "the", "left", "of", "pier", "field", "green"]

SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
DRAWING = {
    "hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "iou_head_hidden_dim": 16,
    "iou_head_depth": 2,
}  # fmt: skip


def bert_vocabulary() -> list[str]:
    """Begin, end, full stop and question mark stand where Grounding DINO's code looks for them."""
    words = [f"[unused{n}]" for n in range(1040)]
    for place, word in {101: "[CLS]", 102: "[SEP]", 1012: ".", 1029: "?"}.items():
        words[place] = word
    free = iter([0, 100, 103, *range(200, 220)])
    for word in WORDS:
        words[next(free)] = word
    return words


def grounding_dino(folder: Path, kind: str = "grounding-dino") -> Path:
    """Grounding DINO, or MM Grounding DINO, of one layer each."""
    import transformers as t

    (folder / "v").mkdir(parents=True)
    (folder / "v" / "vocab.txt").write_text("\n".join(bert_vocabulary()))
    tokenizer = t.BertTokenizerFast(str(folder / "v" / "vocab.txt"))
    swin = t.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage2", "stage3", "stage4"], out_indices=[2, 3, 4],
    )  # fmt: skip
    text = t.BertConfig(
        vocab_size=1040, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    shared = dict(
        backbone_config=swin, text_config=text, d_model=64, encoder_layers=1, decoder_layers=2, num_queries=12,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_n_points=2, decoder_n_points=2, num_feature_levels=4, two_stage=True, max_text_len=32,
    )  # fmt: skip
    config, model = {
        "grounding-dino": (t.GroundingDinoConfig, t.GroundingDinoForObjectDetection),
        "mm-grounding-dino": (t.MMGroundingDinoConfig, t.MMGroundingDinoForObjectDetection),
    }[kind]
    torch.manual_seed(0)
    made = model(config(**shared))
    made.save_pretrained(folder)
    images = t.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    t.GroundingDinoProcessor(images, tokenizer).save_pretrained(folder)
    return folder


def owl(folder: Path, kind: str = "Owlv2") -> Path:
    """OWLv2, or ``OwlViT``, of one layer each."""
    import json

    import transformers as t

    (folder / "v").mkdir(parents=True)
    letters = [chr(c) for c in range(97, 123)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "v" / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "v" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = t.CLIPTokenizerFast(
        str(folder / "v" / "vocab.json"),
        str(folder / "v" / "merges.txt"),
        model_max_length=16,
        pad_token="<|endoftext|>",
    )
    vision = dict(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=48, patch_size=16
    )
    text = dict(
        vocab_size=len(tokens), **SMALL,
        max_position_embeddings=40, bos_token_id=len(tokens) - 2, eos_token_id=len(tokens) - 1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    config = getattr(t, f"{kind}Config")(vision_config=vision, text_config=text, projection_dim=16)
    getattr(t, f"{kind}ForObjectDetection")(config).save_pretrained(folder)
    images = getattr(t, f"{kind}ImageProcessor")(size={"height": 48, "width": 48})
    getattr(t, f"{kind}Processor")(images, tokenizer).save_pretrained(folder)
    return folder


def sam(folder: Path, kind: str = "Sam", **drawing: int) -> Path:
    """SAM, or a kind of it, on 64 px with masks of 16."""
    import transformers as t

    config = getattr(t, f"{kind}Config")(
        vision_config=dict(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16,
            output_channels=16, mlp_dim=16, window_size=2, global_attn_indexes=[0], num_pos_feats=8,
        ),
        prompt_encoder_config=dict(hidden_size=16, image_size=64, patch_size=16, mask_input_channels=4),
        mask_decoder_config={**DRAWING, **drawing},
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(t, f"{kind}Model")(config).save_pretrained(folder)
    images = t.SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16}, mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    getattr(t, f"{kind}Processor")(images).save_pretrained(folder)
    return folder


def sam_hq(folder: Path) -> Path:
    """SAM-HQ, likewise."""
    return sam(folder, "SamHQ", vit_dim=16)


def sam2(folder: Path, kind: str = "sam2") -> Path:
    """SAM 2, or what of it a video checkpoint is named, on 128 px."""
    import json

    import transformers as t

    backbone = t.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[128, 128], blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[8, 4, 4, 2], global_attention_blocks=[3],
        window_positional_embedding_background_size=[2, 2],
    )  # fmt: skip
    vision = t.Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=16,
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
    )  # fmt: skip
    config = t.Sam2Config(
        vision_config=vision,
        prompt_encoder_config=dict(hidden_size=16, image_size=128, patch_size=16, mask_input_channels=4),
        mask_decoder_config=DRAWING,
    )  # fmt: skip
    torch.manual_seed(0)
    t.Sam2Model(config).save_pretrained(folder)
    images = t.Sam2ImageProcessor(size={"height": 128, "width": 128}, mask_size={"height": 32, "width": 32})
    t.Sam2Processor(images, target_size=128).save_pretrained(folder)
    if kind != "sam2":
        note = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**note, "model_type": kind}))
    return folder


def sam3_tracker(folder: Path) -> Path:
    """The tracker of SAM 3 on 56 px."""
    import transformers as t

    backbone = t.Sam3ViTConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14,
        window_size=2, global_attn_indexes=[1], pretrain_image_size=56,
    )  # fmt: skip
    vision = t.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=16, backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]]
    )
    config = t.Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config=dict(hidden_size=16, image_size=56, patch_size=14, mask_input_channels=4),
        mask_decoder_config=DRAWING,
    )
    torch.manual_seed(0)
    t.Sam3TrackerModel(config).save_pretrained(folder)
    images = t.Sam3ImageProcessor(size={"height": 56, "width": 56}, mask_size={"height": 16, "width": 16})
    t.Sam3TrackerProcessor(images, target_size=56).save_pretrained(folder)
    return folder
