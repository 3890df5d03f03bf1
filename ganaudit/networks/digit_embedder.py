"""A small convolutional net that tells one handwritten digit sample from another."""

from torch import Tensor, nn

from ganaudit.networks import check_size

MAX_WIDTH = 512
MAX_EMBEDDING_SIZE = 4096


class DigitEmbedder(nn.Module):
    """Grey 16x16 images in, embeddings out; the identity is the sample, not its class.

    Use it in eval mode: in training mode batch normalisation makes an embedding depend on
    its batch.
    """

    def __init__(self, *, width: int, embedding_size: int = 64) -> None:
        """Makes the layers, randomly initialised.

        Args:
          width: channels at full resolution, 1 to 512; doubled, then tripled as it shrinks.
          embedding_size: length D of an embedding, 1 to 4096.

        Raises:
          ValueError: an argument out of its bounds.
        """
        super().__init__()
        check_size("width", width, 1, MAX_WIDTH)
        check_size("embedding_size", embedding_size, 1, MAX_EMBEDDING_SIZE)
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.Conv2d(2 * width, 3 * width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(3 * width),
            nn.ReLU(),
            nn.Flatten(),  # keeps where a stroke is: [N, 3 * width * 4 * 4]
            nn.Linear(3 * width * 16, embedding_size),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings [N, D] float32, not normalised, for [N, 1, 16, 16] float32 in [-1, 1]."""
        embeddings: Tensor = self.layers(images)
        return embeddings
