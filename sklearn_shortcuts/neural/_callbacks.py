"""Progress that a person watches."""

from skorch.callbacks import Callback


class EpochBar(Callback):
    """Progress bar over epochs, with the latest losses beside it."""

    def on_train_begin(self, net, **kwargs):
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", desc="fit")

    def on_epoch_end(self, net, **kwargs):
        losses = {name: net.history[-1, name] for name in ("train_loss", "valid_loss") if name in net.history[-1]}
        self.bar_.set_postfix({name: f"{value:.4g}" for name, value in losses.items()}, refresh=False)
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        self.bar_.close()
        del self.bar_
