"""The encoder as a task: the pictures of a step are changed, embedded in one pass and compared with one another.

Each step changes the pictures anew (`augment.py`), embeds anchors, positives and negatives together, and compares them
with those of all workers (`losses.py`). Every so many steps hard negatives are mined anew (`mining.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from visnet.platform.encoder import Encoder
from visnet.platform.settings import TrainSettings
from visnet.platform.views import wild_views
from visnet.train.augment import SHOP, STREET, central, changed
from visnet.train.batch import Batch, Embedded
from visnet.train.collapse import CollapsedError, CollapseWatch
from visnet.train.losses import Loss
from visnet.train.mining import HardNegatives
from visnet.train.task import Task

# B pictures of this worker, M negatives brought along by it, C channels, H height, W width, D embedding

logger = logging.getLogger(__name__)


class TripletTask(Task[Batch]):
    """Train an encoder's network to embed an anchor nearer to its positive than to negatives.

    Args:
        negatives: where hard negatives are mined from, every `mine_every_steps` of the settings.
    """

    unit = "anchors"

    def __init__(
        self, encoder: Encoder, loss: Loss, settings: TrainSettings, *, negatives: HardNegatives | None = None
    ) -> None:
        self.network, self.device = encoder.network, encoder.device
        self.best_by = f"recall_at_{settings.validation_k}"
        self._encoder, self._loss, self._settings, self._negatives = encoder, loss, settings, negatives
        self._watch = CollapseWatch(margin=getattr(loss, "margin", None), after=settings.collapse_after)

    def prepare(self, batch: Batch, *, step: int, generator: torch.Generator) -> Batch:
        every = self._settings.mine_every_steps
        if not self._negatives or not every:
            return batch
        if not self._negatives.mined or step % every == 0:
            self.network.eval()
            self._negatives.mine()
        return self._negatives.extend(batch, generator=generator)

    def loss(
        self, network: Callable[[Tensor], Tensor], batch: Batch, *, generator: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Change the pictures, embed them all in one pass, and compare the embeddings."""
        anchor, positive, negative = self._views(batch, generator)
        image_BCHW = self._encoder.normalise(torch.cat([anchor, positive, negative]))
        if self._settings.channels_last:
            image_BCHW = image_BCHW.contiguous(memory_format=torch.channels_last)
        embedding_BD = network(image_BCHW).float()
        anchor_BD, positive_BD, negative_MD = embedding_BD.split([len(anchor), len(positive), len(negative)])
        _, negative_product_M, negative_category_M = batch.negatives()
        return self._loss(
            Embedded(
                anchor_BD=anchor_BD,
                positive_BD=positive_BD,
                product_B=batch.product_B,
                category_B=batch.category_B,
                negative_MD=negative_MD,
                negative_product_M=negative_product_M,
                negative_category_M=negative_category_M,
            )
        )

    def check(self, step: int, values: Mapping[str, float]) -> None:
        """Look whether the embedding collapses.

        Raises:
            CollapsedError: it has collapsed, and the settings don't say that this only warns.
        """
        collapsed = self._watch.look(values["loss"], values)
        if not collapsed:
            return
        text = f"the embedding has collapsed by step {step}: {collapsed}"
        if self._settings.collapse_after:
            raise CollapsedError(
                f"{text}. Lower train.learning_rate, or take less hard negatives (train.negatives: batch); with "
                "train.collapse_after: 0 this only warns"
            )
        logger.warning("%s", text)

    def progress(self, values: Mapping[str, float]) -> str:
        return f"{100 * values['wrong_share']:.2f}% of negatives nearer than the positive"

    def _views(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The pictures as the network sees them in this step: anchors, positives, negatives."""
        side, strength = self._encoder.preprocessing.crop, self._settings.augmentation
        negative_MCHW, _, _ = batch.negatives()
        if batch.anchor_BCHW is None:
            plain_BCHW = central(batch.positive_BCHW, side)
            return wild_views(plain_BCHW, generator=generator), plain_BCHW, central(negative_MCHW, side)
        shop, street = SHOP.scaled(strength), STREET.scaled(strength)
        anchor_BCHW = changed(batch.anchor_BCHW, side, street, generator=generator)
        if share := self._settings.synthetic_share:
            wild_BCHW = wild_views(central(batch.positive_BCHW, side), generator=generator)
            replaced_B = torch.rand(len(batch), generator=generator).to(anchor_BCHW.device) < share
            anchor_BCHW = torch.where(replaced_B[:, None, None, None], wild_BCHW, anchor_BCHW)
        shop_BCHW = changed(torch.cat([batch.positive_BCHW, negative_MCHW]), side, shop, generator=generator)
        return anchor_BCHW, shop_BCHW[: len(batch)], shop_BCHW[len(batch) :]
