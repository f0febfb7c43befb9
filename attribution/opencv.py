"""OpenCV, held to one thread.

Clips are worked on side by side, in processes and beside PyTorch's own threads; a pool of OpenCV threads in
each would only fight for the cores. Everything in this room takes `cv2` from here.
"""

import cv2

cv2.setNumThreads(1)

__all__ = ["cv2"]
