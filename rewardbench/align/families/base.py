"""What every family of video generators knows of itself. The rest of the runner knows nothing of any family."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rewardbench.align.noise import Schedule, Time

Condition = dict[str, Tensor]
"""What the network is told besides time and noisy latent: named tensors, first axis the sample. Cacheable as it is."""


@dataclass(frozen=True)
class ClipShape:
    """Size of the clips a generator makes.

    Attributes:
        frames, height, width: in frames and pixels.
        fps: frames per second that its clips are written with.
    """

    frames: int
    height: int
    width: int
    fps: float


class VideoFamily(ABC):
    """A generator: its network, its latents, its text, its conditioning, its noise.

    Latents have one layout per family, (B, …), in which the network's prediction, noise and target live too. Pixels are
    float (B, T, H, W, 3) in [-1, 1]. Encoders are only needed to fill caches and to decode samples and may be released
    (:meth:`release_encoders`) while the network is trained.
    """

    name: ClassVar[str]
    adapter_targets: ClassVar[tuple[str, ...]]
    """Names of the linear layers that LoRA adapts, as peft matches them (ends of module names)."""
    transformer: Any
    """The network that is trained: a module of diffusers' classes, with ``PeftAdapterMixin``."""
    schedule: Schedule
    clip: ClipShape
    needs_image: bool
    """True: every prompt needs a first-frame image (image-to-video)."""
    usual_sampling: ClassVar[tuple[int, float]] = (50, 1.0)
    """Sampling steps and classifier-free guidance that its clips are usually made with."""
    usual_batch: ClassVar[int] = 1
    """Clips that are sampled at once where nothing is said."""
    image_noise: bool = False
    """True: :meth:`encode_image` puts the noise of training on first frames. Caches ask with it, sampling without."""

    @classmethod
    @abstractmethod
    def load(
        cls, source: str, *, device: str, dtype: torch.dtype, clip: ClipShape | None, options: Mapping[str, str]
    ) -> VideoFamily:
        """The generator in a folder (or hub id) that diffusers wrote.

        Args:
            source: folder or hub id; the family's built-in weights where it has some and this is empty.
            device, dtype: where and how the network computes. Parts that must stay in float32 stay there.
            clip: size of the clips; the checkpoint's usual size if None.
            options: further choices of this family, as text.

        Raises:
            InputError: no such checkpoint, another family's, or a size it cannot make.
        """

    @abstractmethod
    def encode_video(self, pixels: Tensor) -> Tensor:
        """Latents (B, …), float32, of clips (B, T, H, W, 3) of this generator's size; the mean where it encodes to a
        distribution."""

    @abstractmethod
    def decode_latents(self, latents: Tensor) -> Tensor:
        """Clips (B, T, H, W, 3), float32, limited to [-1, 1]."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """What the network is told of the captions, one row each; ``""`` is no caption."""

    @abstractmethod
    def encode_image(self, images: Tensor | None, n: int, generator: torch.Generator) -> Condition:
        """What the network is told of the first frames (n, H, W, 3); empty for text-to-video, where ``images`` is None.

        Randomness that the family puts into its condition (noise on the image) comes from ``generator``.
        """

    def encode_condition(self, prompts: Sequence[str], images: Tensor | None, generator: torch.Generator) -> Condition:
        """:meth:`encode_text` and :meth:`encode_image` of the same rows, merged.

        A family whose text encoder looks at the first frame (HunyuanVideo image-to-video) can do no less than this: it
        has no condition of a caption alone, and ``""`` differs from image to image.
        """
        return {**self.encode_text(prompts), **self.encode_image(images, len(prompts), generator)}

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one clip's latent, without the batch axis."""

    @abstractmethod
    def predict(self, transformer: nn.Module, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        """The network's velocity (B, …) in the layout of latents: packing, position codes and guidance inputs here.

        Args:
            transformer: the network to ask: :attr:`transformer`, or what a distributed engine wrapped it in.
            x_t: noisy latents (B, …), float32; cast to the network's dtype here.
            time: B noise levels.
            condition: :meth:`encode_text` and :meth:`encode_image` merged, B rows.
        """

    def loss_mask(self, condition: Condition) -> Tensor | None:
        """0 where the network is not asked (a first frame that stays clean), broadcastable to (B, …); None: nowhere."""
        return None

    @property
    def loss_elements(self) -> int:
        """Elements of a clip's latent that :meth:`loss_mask` leaves in."""
        return math.prod(self.latent_shape)

    def prepare_latents(self, x_t: Tensor, condition: Condition) -> Tensor:
        """Noisy latents with what is known put in (a clean first frame); most families change nothing."""
        return x_t

    @abstractmethod
    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        """Its transformer blocks in order: units of checkpointing, compilation and sharding.

        ``checkpointing full`` sends clips through a block one by one. The first tensor that a block is called with has
        the clips on its first axis; another tensor has them there if it has as many entries; one in a tuple (rotary
        angles) only if it has three axes or more. A block answers a tensor, or a tuple of tensors and None. Of
        diffusers' ``FeedForward`` in a block it asks for tokens (second axis from the end) in parts.
        """

    @abstractmethod
    def save_adapter(self, folder: Path) -> Path:
        """Write the active LoRA adapter as diffusers' own pipelines load it (``load_lora_weights(folder)``)."""

    @abstractmethod
    def save_full(self, folder: Path) -> Path:
        """Write the whole network as ``from_pretrained`` reads it; the folder of the network."""

    def release_encoders(self) -> None:  # noqa: B027 (a family without encoders has nothing to give back)
        """Give back the memory of text encoders and VAE; encoding is over."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Prediction type, shift, scaling and the like, plain data for the run's record."""

    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything that decides what a latent or condition is: encoders' weights, scaling, size.

        A cache of another fingerprint is refused.
        """

    @abstractmethod
    def network_digest(self) -> str:
        """SHA-256 (hex) of the network's weights as they were loaded; clips of another network are never taken for its
        own."""
