"""The demo's photos of two products: both are to be found by the running service, each with its own results."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from visnet.platform.boxes import overlaps
from visnet.platform.catalog import open_catalog
from visnet.platform.contact_sheet import GAP, HEADER, INK, PAPER
from visnet.platform.cutouts import cut_out
from visnet.platform.drawn_boxes import COLORS, Drawn, draw_boxes
from visnet.platform.errors import VisnetError
from visnet.platform.imaging import decode
from visnet.platform.localisation import DECIDING_K, NARROWED, TRUE_BOX, WHOLE
from visnet.platform.scenes import AS_TAKEN, Scene, compose
from visnet.platform.store import Store

SCENES = 40
SHOWN = 6
RESULTS = 6
SIDE = 256
SEED = 1704
FOUND = 0.5
"""A product is found where a box overlaps with its own by at least this (intersection over union)."""
LEAST_SHARE = 0.5
"""Of the scenes, both products must be found in at least this share."""
PICTURE, THUMBNAIL = 260, 78


def ask(store: Store, url: str, catalog_name: str, *, sheet: Path) -> dict[str, Any]:
    """Send composed photos of two products each, that training never saw, to the service.

    Args:
        sheet: where the picture of the first answers is written.

    Raises:
        VisnetError: the service answers other than it should.
    """
    gallery = open_catalog(store, catalog_name).read(["product_id", "category", "image"], where=("split", "test"))
    chosen = np.random.default_rng(SEED).choice(len(gallery), 4 * SCENES, replace=False)
    rows = gallery.take(chosen).to_pylist()
    made = [(row, pixels) for row in rows if (pixels := cut_out(decode(row["image"]), longest=SIDE)) is not None]
    scenes = list(_scenes([pixels for _, pixels in made]))
    with httpx.Client(base_url=url, timeout=30) as client:
        answers = [_search(client, scene) for scene in scenes]
        drawn = [_drawn(client, scene, answer) for scene, answer in list(zip(scenes, answers, strict=True))[:SHOWN]]
    sheet.write_bytes(_sheet(drawn))
    found = [_found(scene, answer) for scene, answer in zip(scenes, answers, strict=True)]
    right = [
        item["category"] == made[scene.cutout_N[place]][0]["category"]
        for scene, answer, places in zip(scenes, answers, found, strict=True)
        for place, item in places.items()
    ]
    return {
        "scenes": len(scenes),
        "both_found": sum(len(places) == 2 for places in found),
        "items_found": sum(len(places) for places in found),
        "category_right": round(float(np.mean(right)), 3) if right else 0.0,
        "further_items": sum(len(answer["items"]) - len(places) for answer, places in zip(answers, found, strict=True)),
        "sheet": str(sheet),
    }


def problems(results: dict[str, Any]) -> list[str]:
    """What is not as it should be; empty if all is well."""
    if results["both_found"] >= LEAST_SHARE * results["scenes"]:
        return []
    return [f"both products were found in only {results['both_found']} of {results['scenes']} photos of two"]


def lines(results: dict[str, Any]) -> list[str]:
    """The results in words."""
    return [
        f"photos of two products: both found in {results['both_found']} of {results['scenes']}, "
        f"category right for {results['category_right']:.0%} of those found, "
        f"{results['further_items']} boxes elsewhere",
        f"with boxes drawn: {results['sheet']}",
    ]


def localised(result: dict[str, Any]) -> str:
    """What the evaluation of the detector comes to."""
    ways = next(iter(result["asked"].values()))["ways"]
    recalls = [ways[way]["recall_at_k"][str(DECIDING_K)] for way in (WHOLE, NARROWED, TRUE_BOX)]
    return "recall@{} whole photo {:.3f}, detected {:.3f}, true box {:.3f}".format(DECIDING_K, *recalls)


def _scenes(cutouts: list[np.ndarray]) -> list[Scene]:
    settings = dataclasses.replace(AS_TAKEN, size=(0.3, 0.6))
    made = [
        compose(
            cutouts,
            [pixels[:, :, :3] for pixels in cutouts],
            side=SIDE,
            random=np.random.default_rng((SEED, number)),
            settings=settings,
            items=2,
        )
        for number in range(2 * SCENES)
    ]
    return [scene for scene in made if len(scene.box_N4) == 2][:SCENES]


def _search(client: httpx.Client, scene: Scene) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(scene.pixel_HWC).save(buffer, format="PNG")
    files = {"image": ("scene.png", buffer.getvalue())}
    response = client.post("/v1/search", files=files, data={"k": RESULTS, "detect": "true"})
    if not response.is_success:
        raise VisnetError(f"the service answered {response.status_code}: {response.text[:300]}")
    answer: dict[str, Any] = response.json()
    return answer


def _found(scene: Scene, answer: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The item found for each product of a scene."""
    box_M4 = np.array([item["box"] for item in answer["items"]], np.float32).reshape(-1, 4)
    share_NM = overlaps(scene.box_N4, box_M4)
    best = {place: int(share_M.argmax()) for place, share_M in enumerate(share_NM) if share_M.size}
    return {place: answer["items"][item] for place, item in best.items() if share_NM[place, item] >= FOUND}


def _drawn(client: httpx.Client, scene: Scene, answer: dict[str, Any]) -> tuple[Image.Image, list[list[Image.Image]]]:
    """The photo with its boxes, and each found item's results."""
    boxes = [Drawn(box=tuple(box)) for box in scene.box_N4.tolist()]
    for number, item in enumerate(answer["items"]):
        text = f"{item['category']} {item['confidence']:.2f}"
        boxes.append(Drawn(box=tuple(item["box"]), text=text, color=COLORS[number % len(COLORS)]))
    results = [
        [decode(client.get(hit["image_url"]).content) for hit in item["results"]] for item in answer["items"][:3]
    ]
    return draw_boxes(Image.fromarray(scene.pixel_HWC), boxes, side=PICTURE), results


def _sheet(drawn: list[tuple[Image.Image, list[list[Image.Image]]]]) -> bytes:
    """Photos with boxes; beside each, a row of results for every item, in the colour of its box."""
    width = PICTURE + 2 * GAP + RESULTS * (THUMBNAIL + 6) + 3 * GAP
    height = PICTURE + 2 * GAP
    sheet = Image.new("RGB", (2 * width, HEADER + -(-len(drawn) // 2) * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = (
        "Photos of two products (white: where they are), what the running service found in them, and products like it"
    )
    draw.text((GAP, 12), title, fill=INK, font=ImageFont.load_default(16))
    for number, (photo, results) in enumerate(drawn):
        row, column = divmod(number, 2)
        left, top = GAP + column * width, HEADER + row * height
        sheet.paste(photo, (left, top))
        for item, found in enumerate(results):
            upper = top + item * (THUMBNAIL + 8)
            start = left + PICTURE + GAP
            draw.rectangle((start, upper, start + 4, upper + THUMBNAIL), fill=COLORS[item])
            for place, image in enumerate(found):
                thumbnail = image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR)
                sheet.paste(thumbnail, (start + 12 + place * (THUMBNAIL + 6), upper))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
