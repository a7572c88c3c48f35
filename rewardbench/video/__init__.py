"""Clips to frames: the only module that opens a video file.

:func:`read_frames` decodes a clip once for any number of frame specs; :func:`resize_frames` is the one place where
pixels are resized; :func:`write_video` is the deterministic writer of the synthetic benchmark. What is verified, the
sampling rules and the filters are described in ``docs/frames.md``. Nothing heavy is imported before it is called.
"""

from rewardbench.video.container import ClipInfo, content_hash, probe
from rewardbench.video.image import read_image
from rewardbench.video.reading import ReaderStatus, available_readers, read_frames, reader_version, require_readers
from rewardbench.video.resize import filter_version, resize_frames
from rewardbench.video.writing import write_video

__all__ = [
    "ClipInfo",
    "ReaderStatus",
    "available_readers",
    "content_hash",
    "filter_version",
    "probe",
    "read_frames",
    "read_image",
    "reader_version",
    "require_readers",
    "resize_frames",
    "write_video",
]
