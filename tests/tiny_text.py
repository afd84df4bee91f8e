"""Tokenizers of the tiny text checkpoints: real classes over single letters."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("the", "red", "roof", "left", "of")


def ids(name: str) -> dict[str, int]:
    """Size of the vocabulary and ids of special tokens, as the configuration names them."""
    if name.startswith("clip"):
        end = len(clip_vocabulary()) - 1
        # Old configurations name a wrong end token, which switches the library's pooling to the largest id.
        return {"vocab_size": end + 1, "bos_token_id": end - 1, "eos_token_id": 2 if name == "clip-legacy" else end}
    vocabulary = {"bert": _bert, "roberta": _roberta, "siglip-whole": _gemma}
    size = SPM_SIZE if name == "siglip-text" else len(vocabulary[name]())
    special = {
        "bert": {},
        "roberta": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1},
        "siglip-text": {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 1},
        "siglip-whole": {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1},
    }
    return {"vocab_size": size, **special[name]}


def tokenizer(name: str, room: Path) -> Any:
    """The tokenizer of a checkpoint; `room` is a folder for files on the way."""
    import transformers

    if name.startswith("clip"):
        # As in the published checkpoints the token that pads is the one that ends.
        return transformers.CLIPTokenizer(vocab=clip_vocabulary(), merges=[])
    if name == "bert":
        return transformers.BertTokenizer(vocab=_bert())
    if name == "roberta":
        return transformers.RobertaTokenizer(vocab=_roberta(), merges=[])
    if name == "siglip-text":
        return transformers.SiglipTokenizer(str(_sentencepiece(room)))
    return _siglip2()


def clip_vocabulary() -> dict[str, int]:
    """Single bytes, at a word's end and elsewhere, then begin and end, as in CLIP's own order."""
    letters = _bytes()
    return _numbered([*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"])


def _numbered(words: list[str]) -> dict[str, int]:
    return {word: number for number, word in enumerate(words)}


def _bytes() -> list[str]:
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


@cache
def _bert() -> dict[str, int]:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    return _numbered([*words, *LETTERS, *(f"##{letter}" for letter in LETTERS)])


@cache
def _roberta() -> dict[str, int]:
    return _numbered(["<s>", "<pad>", "</s>", "<unk>", *_bytes(), "<mask>"])


@cache
def _gemma() -> dict[str, int]:
    return _numbered(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581", *LETTERS])


def _siglip2() -> Any:
    """SigLIP 2: its end token is not the one that pads, and it says nothing of attention."""
    from tokenizers.processors import TemplateProcessing
    from transformers import Siglip2Tokenizer

    made = Siglip2Tokenizer(vocab=_gemma(), merges=[], model_input_names=["input_ids"], padding_side="right")
    made._tokenizer.post_processor = TemplateProcessing("$A <eos>", special_tokens=[("<eos>", 1)])
    return made


SPM_SIZE = 40


def _sentencepiece(room: Path) -> Path:
    """SigLIP's own kind of vocabulary, trained on a few words in a moment."""
    import io

    import pytest

    trainer = pytest.importorskip("sentencepiece", reason="SigLIP's tokenizer needs sentencepiece")
    model = io.BytesIO()
    trainer.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(WORDS), " ".join(LETTERS), *WORDS] * 4),
        model_writer=model,
        model_type="char",
        vocab_size=SPM_SIZE,
        hard_vocab_limit=False,
        # As in the published file: no padding, and the end token in second place.
        unk_id=2,
        eos_id=1,
        bos_id=-1,
        pad_id=0,
        minloglevel=9,
    )
    path = room / "spiece.model"
    path.write_bytes(model.getvalue())
    return path
