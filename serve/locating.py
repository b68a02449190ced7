"""What of an uploaded photo is searched for, and how the answer says it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from visnet.platform.client.models import Located
from visnet.platform.filters import Filter
from visnet.serve import searching, telemetry
from visnet.serve.api import SearchRequest
from visnet.serve.messages import Found, FoundPart, Looked, Photo
from visnet.serve.problems import ProblemError
from visnet.serve.served import Served


def wanted_parts(served: Served, asked: SearchRequest, data: bytes) -> Photo:
    """A photo with the parts that a request wants of it; where it does not say, the release decides.

    Raises:
        ProblemError: 422, items are to be found and the release has no detector.
    """
    release = served.manifest
    if asked.detect and release.detector is None:
        raise ProblemError(
            422,
            f"detect: release {release.release} has no detector, so no items can be found; leave detect out to search "
            "for the whole photo, or give a box",
        )
    detect = asked.detect if asked.detect is not None else release.detect_by_default
    box = asked.box
    return Photo(data=data, box=box, detect=bool(detect) and box is None, most=asked.max_items)  # type: ignore[arg-type]


async def search_parts(
    served: Served, looked: Looked, k: int, where: Filter | None, *, weight: float, without: Collection[str] = ()
) -> list[FoundPart]:
    """What is found for each part of a photo, all at once; raises as `searching.search`."""
    calls = [searching.search_part(served, part, k, where, weight=weight, without=without) for part in looked.parts]
    return list(await asyncio.gather(*calls))


def together(found: Sequence[FoundPart]) -> Found:
    """The first part's products, with what is true of the answer as a whole."""
    parts = [one.found for one in found]
    return Found(
        hits=parts[0].hits,
        shards_ok=min(one.shards_ok for one in parts),
        shards_total=parts[0].shards_total,
        sequence=min(one.sequence for one in parts),
    )


def located(photo: Photo, looked: Looked) -> Located:
    """What was searched for, and why not for less."""
    if photo.box is not None:
        return _counted(Located(by="box", detail=""), "box")
    if looked.parts[0].confidence is not None:
        return _counted(Located(by="detection", detail=""), "detection")
    if not photo.detect:
        return _counted(Located(by="whole", detail=""), "whole")
    if looked.small:
        detail = "the photo has no more pixels than the encoder takes of a whole one: this is for the whole of it"
        return _counted(Located(by="whole", detail=detail), "small")
    if looked.unsure:
        detail = f"the detector is not sure of anything in the photo (at most {looked.unsure:.2f})"
        return _counted(Located(by="whole", detail=f"{detail}: this is for the whole of it"), "unsure")
    detail = "no item was found in the photo: this is for the whole of it"
    return _counted(Located(by="whole", detail=detail), "nothing")


def _counted(answer: Located, how: str) -> Located:
    telemetry.PHOTOS_LOCATED.add(how)
    return answer
