"""The words of ``bert-base-uncased`` and the two tokens BLIP adds to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rewardbench_animereward.published import read_json

LENGTH = 30
ADDED = ("[DEC]", "[ENC]")
NEEDED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class WordPiece:
    """Tokenizer of one vocabulary folder (``vocab.txt``, and ``tokenizer_config.json`` where it is not lower-case).

    Raises:
        ValueError: the folder has no such vocabulary.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import BertWordPieceTokenizer

        file = folder / "vocab.txt"
        if not file.is_file():
            raise ValueError(f"{folder} has no vocab.txt; name the folder of bert-base-uncased, --weights bert=FOLDER")
        words = file.read_text(encoding="utf-8").split("\n")
        vocabulary = {word: number for number, word in enumerate(words[:-1] if words[-1] == "" else words)}
        missing = [token for token in NEEDED if token not in vocabulary]
        if missing:
            raise ValueError(f"{file} is not a BERT vocabulary: it lacks {', '.join(missing)}")
        config = folder / "tokenizer_config.json"
        lower = read_json(config).get("do_lower_case", True) if config.is_file() else True
        self._tokenizer = BertWordPieceTokenizer(vocab=vocabulary, lowercase=bool(lower))
        self._pad = vocabulary["[PAD]"]
        self._end = vocabulary["[SEP]"]
        self.size = len(vocabulary) + sum(token not in vocabulary for token in ADDED)
        """Rows of the token embedding that goes with it."""

    def encode(self, text: str) -> tuple[np.ndarray, np.ndarray, int]:
        """int64 (1, 30) token ids and attention mask, cut or padded; and how many tokens the whole text has.

        Raises:
            ValueError: the text contains one of the tokenizer's special tokens.
        """
        special = [token for token in (*NEEDED, *ADDED) if token in text]
        if special:
            raise ValueError(
                f"the prompt contains {special[0]}, which BERT reads as a special token; reword the prompt"
            )
        ids = self._tokenizer.encode(text).ids
        kept = ids if len(ids) <= LENGTH else [*ids[: LENGTH - 1], self._end]
        row = np.full((1, LENGTH), self._pad, np.int64)
        row[0, : len(kept)] = kept
        return row, (np.arange(LENGTH) < len(kept))[None].astype(np.int64), len(ids)
