"""Small images of the candidates of a live decoder for its page."""

from __future__ import annotations

import base64
import json
from io import BytesIO

SIZE = 96  # pixels
MAX_IMAGES = 1000


def make_page_images(decoder):
    """Return small images of the candidates as JSON, or None if too many.

    Candidates without a file have an empty text, and are shown by name.
    """
    images = decoder._sounds.sounds
    if len(images) > MAX_IMAGES:
        return None
    return json.dumps({"images": [_read_small_image(image.path) for image in images]}).encode()


def _read_small_image(path):
    """Return an image file as a data URL, empty without a file."""
    if not path:
        return ""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.draft("RGB", (SIZE, SIZE))
            small = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"The candidate {str(path)!r} cannot be read as an image ({error}). Correct the file, or run without the page."
        ) from error
    small.thumbnail((SIZE, SIZE))
    small = ImageOps.exif_transpose(small)
    content = BytesIO()
    small.save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
