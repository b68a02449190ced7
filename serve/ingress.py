"""The HTTP side of the service as one deployment: all its routes, whose are who may ask, what is asked, and the answer.

(Serve copies an ingress class with just the names that its module had when the class was made: what it uses has to be
imported, not defined after it.)
"""

from __future__ import annotations

from ray import serve

from visnet.serve.routes import api
from visnet.serve.routes_catalog import CatalogRoutes
from visnet.serve.routes_operate import OperateRoutes
from visnet.serve.routes_page import PageRoutes
from visnet.serve.routes_products import ProductRoutes
from visnet.serve.routes_search import SearchRoutes


@serve.ingress(api)
class Ingress(SearchRoutes, ProductRoutes, CatalogRoutes, OperateRoutes, PageRoutes):
    """Answers HTTP; takes what `Routes` takes."""
