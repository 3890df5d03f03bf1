"""MTCNN, batched: faces in pictures, with the networks that ship inside facenet-pytorch.

Only the networks are used. facenet-pytorch's loop over their candidates runs once for each of
them, raises where there are none, and lets the images of a batch touch one another; here every step
is one operation on all candidates of a batch, and nothing of an image meets another's.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ganaudit.checkpoints.state_dicts import fill, read_state_dict

DETECTION_SIDE = 160  # shorter side to which smaller images are enlarged before faces are sought
LONGEST_SIDE = 1280  # to which they may grow by that
WINDOW = 12  # pixels that MTCNN's first network looks at

_SHRINK = 0.709  # from one scale to the next
_SURE = (0.6, 0.7)  # probability from which a candidate passes the first two networks
_CANDIDATES = 2000  # of an image: the most probable ones go on
_CROPS = 512  # candidates in one piece
_PAIRS = 2**24  # of candidates, compared in one piece


class FaceDetector:
    """MTCNN, which ships inside facenet-pytorch: three networks, each stricter than the last.

    Boxes are (left, top, right, bottom) in pixels.

    References:
      Zhang, Zhang, Li, Qiao, "Joint face detection and alignment using multitask cascaded
      convolutional networks", IEEE Signal Processing Letters 23, 2016. Scales, thresholds and
      rounding are those of facenet-pytorch.
    """

    def __init__(self, device: torch.device, *, confidence: float, min_face: int) -> None:
        """Load the bundled networks.

        Args:
          device: where they work.
          confidence: probability from which the last network's box is a face.
          min_face: side of the smallest face that is sought, pixels of the image or of what it
            was enlarged to.
        """
        import facenet_pytorch

        folder = Path(facenet_pytorch.__file__).parent / "data"
        networks, hashes = [], {}
        for name in ("pnet", "rnet", "onet"):
            with torch.device("meta"):
                network = getattr(facenet_pytorch, f"{name[0].upper()}Net")(pretrained=False)
            path = folder / f"{name}.pt"
            state = read_state_dict(path)
            fill(network, state, network=f"MTCNN's {name}")
            networks.append(network.to(device))
            hashes[name] = state.sha256
        self._propose_net, self._refine_net, self._output_net = networks
        self._confidence = confidence
        self._min_face = min_face
        self.settings: dict[str, Any] = {
            "detector": "MTCNN",
            "detector_sha256": hashes,
            "chosen": "the largest face",
            "confidence": confidence,
            "min_face": min_face,
            "enlarged_to": DETECTION_SIDE,
            "enlarged_at_most_to": LONGEST_SIDE,
            "candidates": _CANDIDATES,
        }

    def largest_faces(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The largest face of each image, whatever the images show.

        Args:
          images: uint8 [N, 3, H, W] of any size.

        Returns:
          boxes [N, 4] float32, which may reach beyond the image, and found [N] bool; the box of
          an image without a face is zero.
        """
        height, width = images.shape[2:]
        pixels = _enlarged(images)
        boxes, owner = self.faces(pixels)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])  # [K]
        chosen, found = _largest(area, owner, len(images))
        scale = boxes.new_tensor([width / pixels.shape[3], height / pixels.shape[2]] * 2)
        largest = boxes.new_zeros(len(images), 4)
        largest[found] = boxes[chosen[found]] * scale
        return largest, found

    def faces(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Every face in images [N, 3, H, W] of whole levels 0 .. 255.

        Returns:
          boxes [F, 4] float32 and the image each is of, [F] int64.
        """
        boxes, owner = self._propose(pixels)
        return self._decide(_area_sums(pixels), boxes, owner)

    def _propose(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Candidates [K, 4] in images [N, 3, H, W], and the image each is of, [K]."""
        count, _, height, width = pixels.shape
        boxes = [pixels.new_zeros(0, 4)]
        moves, scores = [pixels.new_zeros(0, 4)], [pixels.new_zeros(0)]
        owners = [torch.zeros(0, dtype=torch.int64, device=pixels.device)]
        for scale in _scales(min(height, width), self._min_face):
            size = (int(height * scale + 1), int(width * scale + 1))
            small = interpolate(pixels, size=size, mode="area")
            move, probability = self._propose_net(_centred(small))
            score = probability[:, 1]  # [N, rows, columns]
            owner, row, column = (score >= _SURE[0]).nonzero(as_tuple=True)
            corner = 2 * torch.stack([column, row], 1)  # a cell of the map is two pixels
            ends = torch.cat([corner + 1, corner + WINDOW], 1) / scale
            box, score = ends.floor(), score[owner, row, column]
            kept = suppress(box, score, owner, count, limit=0.5)
            boxes.append(box[kept])
            moves.append(move[owner[kept], :, row[kept], column[kept]])
            scores.append(score[kept])
            owners.append(owner[kept])
        box, move, score, owner = map(torch.cat, (boxes, moves, scores, owners))
        kept = suppress(box, score, owner, count, limit=0.7)
        return _square(_moved(box[kept], move[kept], 0)), owner[kept]

    def _decide(self, sums: Tensor, boxes: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
        """The faces among the candidates: boxes [F, 4] and their images [F]."""
        count = len(sums)
        boxes, owner = _inside(boxes, owner, sums)
        move, probability = _look(self._refine_net, sums, boxes, owner, side=24)
        boxes, owner, move, score = _passing(
            probability > _SURE[1], boxes, owner, move, probability
        )
        kept = suppress(boxes, score, owner, count, limit=0.7)
        boxes, owner = _square(_moved(boxes[kept], move[kept], 1)), owner[kept]
        boxes, owner = _inside(boxes, owner, sums)
        move, probability = _look(self._output_net, sums, boxes, owner, side=48)
        sure = probability >= self._confidence
        boxes, owner, move, score = _passing(sure, boxes, owner, move, probability)
        boxes = _moved(boxes, move, 1)
        kept = suppress(boxes, score, owner, count, limit=0.7, of_smaller=True)
        return boxes[kept], owner[kept]


def suppress(
    boxes: Tensor,
    scores: Tensor,
    owner: Tensor,
    count: int,
    *,
    limit: float,
    of_smaller: bool = False,
) -> Tensor:
    """Non-maximum suppression in each image by itself.

    From the most probable box down, a box is kept unless a kept box of its image overlaps it by
    more than `limit`. All boxes of all images are decided at once: keep everything, then
    again and again only what nothing kept before it overlaps, until nothing changes. After t rounds
    the first t boxes of every image are as they will be.

    Args:
      boxes: [K, 4].
      scores: [K]; of equal ones the first comes first.
      owner: [K] int64, the image of each, 0 <= owner < count.
      count: of images.
      limit: share of the union, from which on boxes are one.
      of_smaller: share of the smaller box instead, in whole pixels with both ends.

    Returns:
      [k] int64, ascending: which boxes are kept, of the 2000 most probable ones of an image.
    """
    if not len(boxes):
        return owner
    order = scores.argsort(descending=True, stable=True)
    order = order[owner[order].argsort(stable=True)]  # by image, there by probability
    sizes = owner.bincount(minlength=count)
    place = torch.arange(len(boxes), device=boxes.device) - (sizes.cumsum(0) - sizes)[owner[order]]
    longest = min(int(sizes.max()), _CANDIDATES)
    fits = place < longest
    table = owner.new_full((count, longest), -1)  # [N, M], the boxes of each image
    table[owner[order[fits]], place[fits]] = order[fits]
    kept = []
    for part in table.split(max(1, _PAIRS // longest**2)):
        present = part >= 0
        after = (_overlaps(boxes[part], of_smaller) > limit).tril(-1)  # [n, M, M]: after, before
        alive, then = ~present, present
        while not torch.equal(alive, then):
            alive, then = then, present & ~(after & then[:, None]).any(2)
        kept.append(part[alive])
    return torch.cat(kept).sort().values


def _overlaps(boxes: Tensor, of_smaller: bool) -> Tensor:
    """[n, M, M] shares of common area for boxes [n, M, 4]."""
    end = 1 if of_smaller else 0
    first, last = boxes[..., :2], boxes[..., 2:] + end
    area = (last - first).prod(-1)  # [n, M]
    low = torch.maximum(first[:, :, None], first[:, None])
    high = torch.minimum(last[:, :, None], last[:, None])
    common = (high - low).clamp(min=0).prod(-1)
    one, other = area[:, :, None], area[:, None]
    return common / (torch.minimum(one, other) if of_smaller else one + other - common)


def detection_size(height: int, width: int) -> tuple[int, int]:
    """Of an image when faces are sought in it."""
    short, long = sorted((height, width))
    factor = max(1.0, min(DETECTION_SIDE / short, LONGEST_SIDE / long))
    return round(height * factor), round(width * factor)


def _enlarged(images: Tensor) -> Tensor:
    """float32 [N, 3, *detection size], whole levels 0 .. 255."""
    size = detection_size(*images.shape[2:])
    pixels = images.to(torch.float32)
    if size == tuple(images.shape[2:]):
        return pixels
    return interpolate(pixels, size=size, mode="bilinear").round_().clamp_(0, 255)


def _scales(short: int, min_face: int) -> list[float]:
    """From the smallest face that is sought up to the shorter side of the image."""
    scales, scale = [], WINDOW / min_face
    while short * scale >= WINDOW:
        scales.append(scale)
        scale *= _SHRINK
    return scales


def _centred(pixels: Tensor) -> Tensor:
    return (pixels - 127.5) / 128


def _area_sums(pixels: Tensor) -> Tensor:
    """int64 [N, 3, H + 1, W + 1]: the exact sum of everything above and to the left."""
    sums = pixels.to(torch.int64).cumsum(2).cumsum(3)
    return nn.functional.pad(sums, (1, 0, 1, 0))


def _inside(boxes: Tensor, owner: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """Those of which a pixel lies in the image."""
    first, last = _clipped(boxes, sums)
    some = (last > first).all(1)
    return boxes[some], owner[some]


def _clipped(boxes: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """First pixel and the one after the last, [K, 2] int64; MTCNN counts pixels from 1."""
    whole = boxes.trunc().to(torch.int64)
    limits = whole.new_tensor([sums.shape[3] - 1, sums.shape[2] - 1])
    return whole[:, :2].clamp(min=1) - 1, torch.minimum(whole[:, 2:], limits)


def _look(
    network: nn.Module, sums: Tensor, boxes: Tensor, owner: Tensor, *, side: int
) -> tuple[Tensor, Tensor]:
    """What a network says of candidates: moves [K, 4] and probabilities [K]."""
    moves, probabilities = [boxes.new_zeros(0, 4)], [boxes.new_zeros(0)]
    for box, whose in zip(boxes.split(_CROPS), owner.split(_CROPS), strict=True):
        if len(box):
            said = network(_centred(_averaged(sums, box, whose, side)))
            moves.append(said[0])
            probabilities.append(said[-1][:, 1])
    return torch.cat(moves), torch.cat(probabilities)


def _averaged(sums: Tensor, boxes: Tensor, owner: Tensor, side: int) -> Tensor:
    """float32 [K, 3, side, side]: the means of the cells that a grid makes of each box."""
    first, last = _clipped(boxes, sums)
    extent = (last - first)[:, :, None]  # [K, 2, 1]
    cell = torch.arange(side, device=boxes.device)
    begin = first[:, :, None] + cell * extent // side  # [K, 2, side]
    end = first[:, :, None] + ((cell + 1) * extent + side - 1) // side
    (left, top), (right, bottom) = begin.unbind(1), end.unbind(1)

    def corner(row: Tensor, column: Tensor) -> Tensor:
        return sums[owner[:, None, None], :, row[:, :, None], column[:, None]]  # [K, s, s, 3]

    inner = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
    pixels = (bottom - top)[:, :, None] * (right - left)[:, None]  # [K, side, side]
    return (inner / pixels[..., None]).permute(0, 3, 1, 2)


def _passing(
    good: Tensor, boxes: Tensor, owner: Tensor, moves: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return boxes[good], owner[good], moves[good], scores[good]


def _moved(boxes: Tensor, moves: Tensor, end: int) -> Tensor:
    """Boxes whose edges went by these fractions of their sides."""
    sides = boxes[:, 2:] - boxes[:, :2] + end
    return boxes + moves * sides.repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """The squares around the same centres, as large as the longer sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longest = sides.amax(1, keepdim=True)
    first = boxes[:, :2] + (sides - longest) / 2
    return torch.cat([first, first + longest], 1)


def _largest(area: Tensor, owner: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Which box is the largest of each image, [N], and whether it has any, [N] bool."""
    largest = area.new_full((count,), -math.inf).scatter_reduce(0, owner, area, "amax")
    best = (area == largest[owner]).nonzero().squeeze(1)
    chosen = owner.new_full((count,), len(area)).scatter_reduce(0, owner[best], best, "amin")
    return chosen, chosen < len(area)
