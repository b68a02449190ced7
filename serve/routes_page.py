"""Routes of the page: its files. They hold nothing of the catalogue, so they need no key."""

from typing import Annotated

from fastapi import Header
from fastapi.responses import Response

from visnet.serve.page_files import INDEX, page_answer
from visnet.serve.routes import Routes, api

Encodings = Annotated[str | None, Header(alias="Accept-Encoding")]
Known = Annotated[str | None, Header(alias="If-None-Match")]


class PageRoutes(Routes):
    """The page."""

    @api.get("/", response_class=Response, include_in_schema=False)
    async def page(self, encodings: Encodings = None, known: Known = None) -> Response:
        """The page itself."""
        return page_answer(INDEX, accept_encoding=encodings, if_none_match=known)

    @api.get("/favicon.ico", response_class=Response, include_in_schema=False)
    async def icon(self, encodings: Encodings = None, known: Known = None) -> Response:
        """What browsers ask for by themselves."""
        return page_answer("icon.svg", accept_encoding=encodings, if_none_match=known)

    @api.get("/page/{path:path}", response_class=Response, include_in_schema=False)
    async def page_file(self, path: str, encodings: Encodings = None, known: Known = None) -> Response:
        """A file of the page."""
        return page_answer(path, accept_encoding=encodings, if_none_match=known)
