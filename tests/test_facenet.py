"""Faces to identities: finding them, cutting them out, and weights that somebody else saved."""

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import TESTS
from ganaudit_plugins.descriptors import facenet, mtcnn
from ganaudit_plugins.descriptors.facenet import (
    FacenetDescriptor,
    cut_faces,
    fetch,
    open_facenet,
)
from ganaudit_plugins.descriptors.mtcnn import FaceDetector, suppress
from PIL import Image
from torch import Tensor, nn

from ganaudit.checkpoints.state_dicts import read_state_dict
from ganaudit.descriptors import Descriptor, Preprocessing, check_rows
from ganaudit.errors import ConfigError
from ganaudit.userfile import import_file

CPU = torch.device("cpu")
EYES, MOUTH = ((204, 101), (246, 103)), (223, 146)  # of the astronaut, as one sees them
HEAD = (153, 20, 301, 180)  # likewise, with her hair
NO_FACES = ("brick", "cell", "chelsea", "coffee", "gravel", "rocket")


def photograph(name: str) -> Tensor:
    """uint8 [1, 3, H, W] of a picture inside scikit-image."""
    pixels = getattr(pytest.importorskip("skimage.data"), name)()
    pixels = np.array(pixels[0] if isinstance(pixels, tuple) else pixels)
    if pixels.ndim == 2:
        pixels = np.stack([pixels] * 3, 2)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def patches() -> Tensor:
    """uint8 [200, 3, 25, 25]: 100 faces, then 100 pieces of backgrounds, some with part of one."""
    levels = np.clip(pytest.importorskip("skimage.data").lfw_subset(), 0, 1) * 255
    grey = torch.from_numpy(levels.round().astype(np.uint8))
    return grey[:, None].repeat(1, 3, 1, 1)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def scaled(image: Tensor, height: int, width: int) -> Tensor:
    """uint8 [1, 3, H, W] at another size, by Pillow."""
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(picture.resize((width, height)))).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector(CPU, confidence=0.9, min_face=20)


# -- finding faces ----------------------------------------------------------------------------


def reference_faces(image: Tensor) -> np.ndarray:
    """[F, 5] boxes and probabilities, as facenet-pytorch's own loop over candidates finds them."""
    from facenet_pytorch import MTCNN
    from facenet_pytorch.models.utils.detect_face import detect_face

    networks, pixels = MTCNN(), image.permute(0, 2, 3, 1).numpy()
    steps = (networks.pnet, networks.rnet, networks.onet, [0.6, 0.7, 0.7], 0.709, CPU)
    with torch.no_grad():
        boxes, _ = detect_face(pixels, 20, *steps)
    found = np.array(boxes[0], dtype=np.float64).reshape(-1, 5)
    return found[np.lexsort(found[:, :4].T)]


@pytest.mark.parametrize(
    ("name", "count"),
    [("astronaut", 1), ("camera", 1), ("coffee", 0), ("coins", 0), ("stereo_motorcycle", 2)],
)
def test_the_faces_are_those_that_facenet_pytorch_finds(name: str, count: int) -> None:
    """Where it does not raise, it is the literal twin; of a motorcycle it takes parts for faces."""
    image = photograph(name)
    wanted = reference_faces(image)
    boxes, owner = FaceDetector(CPU, confidence=0.7, min_face=20).faces(image.float())
    assert len(wanted) == len(boxes) == count and not owner.any()
    found = boxes.numpy()[np.lexsort(boxes.numpy().T)]
    np.testing.assert_allclose(found, wanted[:, :4], atol=0.05)


def test_confidence_decides_what_is_a_face() -> None:
    """Two parts of a motorcycle are faces with different probabilities."""
    image = photograph("stereo_motorcycle")
    wanted = reference_faces(image)
    for threshold in wanted[:, 4]:
        for confidence in (threshold - 1e-3, threshold + 1e-3):
            boxes, _ = FaceDetector(CPU, confidence=confidence, min_face=20).faces(image.float())
            assert len(boxes) == int((wanted[:, 4] >= confidence).sum())


def test_the_astronauts_face_is_where_one_sees_it(detector: FaceDetector) -> None:
    boxes, found = detector.largest_faces(photograph("astronaut"))
    assert found.tolist() == [True]
    left, top, right, bottom = boxes[0].tolist()
    for x, y in (*EYES, MOUTH):
        assert left < x < right and top < y < bottom
    middle = (top + bottom) / 2
    assert all(y < middle for _, y in EYES) and middle < MOUTH[1]
    assert HEAD[0] < left and HEAD[1] < top and right < HEAD[2] and bottom < HEAD[3]


def test_small_faces_are_found_and_backgrounds_are_none(detector: FaceDetector) -> None:
    """Images of 25 x 25, each second one."""
    found = detector.largest_faces(patches()[::2])[1]
    assert int(found[:50].sum()) >= 47 and int(found[50:].sum()) <= 3


def test_faces_smaller_than_the_smallest_are_enlarged(detector: FaceDetector) -> None:
    """Of 16 x 16 pixels: without that none could be found, as the smallest sought has 20."""
    faces = torch.cat([scaled(face[None], 16, 16) for face in patches()[:30]])
    boxes, found = detector.largest_faces(faces)
    assert int(found.sum()) >= 24
    assert float((boxes[found, 2] - boxes[found, 0]).max()) < 16 * 1.5  # in pixels of the image


def test_boxes_are_in_pixels_of_the_image_also_where_it_was_enlarged(
    detector: FaceDetector,
) -> None:
    head = photograph("astronaut")[:, :, 0:240, 120:340]
    boxes, found = detector.largest_faces(scaled(head, 48, 55))  # a fifth, and a quarter
    assert found.all()
    left, top, right, bottom = boxes[0].tolist()
    for x, y in (*EYES, MOUTH):
        assert left < (x - 120) / 4 < right and top < y / 5 < bottom
    assert right - left < (HEAD[2] - HEAD[0]) / 4 and bottom - top < (HEAD[3] - HEAD[1]) / 5


def test_a_candidate_that_leaves_the_image_is_no_face(detector: FaceDetector) -> None:
    """Before the second network looks, and after it has moved the box away."""
    sums = mtcnn._area_sums(noise(1, 3, 40, 40))
    owner = torch.zeros(1, dtype=torch.int64)
    inside, outside = torch.tensor([[5.0, 5, 25, 25]]), torch.tensor([[60.0, 60, 80, 80]])
    assert len(detector._decide(sums, outside, owner)[0]) == 0
    moving = FaceDetector(CPU, confidence=1e-9, min_face=20)
    for move, count in ((0.0, 1), (9.0, 0)):
        said = torch.full((1, 4), move), torch.tensor([[0.0, 1]])
        moving._refine_net = lambda crops, said=said: said
        assert len(moving._decide(sums, inside, owner)[0]) == count


@pytest.mark.parametrize("name", NO_FACES)
def test_photographs_without_people_have_no_face(detector: FaceDetector, name: str) -> None:
    image = photograph(name)
    if name == "cell":
        image = scaled(image, 330, 275)
    boxes, found = detector.largest_faces(image)
    assert not found.any() and not boxes.any()


@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 2), (8, 200), (200, 8), (1, 5000), (12, 12), (19, 20), (159, 161), (300, 33)],
)
def test_no_image_is_too_strange(detector: FaceDetector, size: tuple[int, int]) -> None:
    images = noise(4, 3, *size)
    images[1], images[2] = 0, 255
    images[3] = images[3, :, :1, :1]  # a single colour
    boxes, found = detector.largest_faces(images)
    assert boxes.shape == (4, 4) and torch.isfinite(boxes).all() and not found[1:].any()


def test_a_face_that_the_border_cuts_is_found(detector: FaceDetector) -> None:
    image = photograph("astronaut")[:, :, 75:230, 190:350]  # without hair and one ear
    boxes, found = detector.largest_faces(image)
    assert found.all()
    face = cut_faces(image, boxes, margin=14)
    assert torch.isfinite(face).all() and face.min() >= 0 and face.max() <= 255
    left, top, right, bottom = boxes[0].tolist()
    for x, y in (*EYES, MOUTH):
        assert left < x - 190 < right and top < y - 75 < bottom


@pytest.mark.parametrize("left", [True, False])
def test_of_two_faces_the_larger_is_taken(detector: FaceDetector, left: bool) -> None:
    head = photograph("astronaut")[:, :, 0:240, 120:340]
    small = scaled(head, 120, 110)
    canvas = torch.full((1, 3, 240, 440), 128, dtype=torch.uint8)
    start, other = (0, 280) if left else (220, 40)
    canvas[:, :, :, start : start + 220] = head
    canvas[:, :, 60:180, other : other + 110] = small
    both, _ = detector.faces(canvas.float())
    assert len(both) == 2
    boxes, _ = detector.largest_faces(canvas)
    for x, y in (*EYES, MOUTH):
        assert boxes[0, 0] < x - 120 + start < boxes[0, 2] and boxes[0, 1] < y < boxes[0, 3]
    assert boxes[0, 2] - boxes[0, 0] < 1.5 * (EYES[1][0] - EYES[0][0]) * 2


def test_a_face_below_the_smallest_is_not_sought() -> None:
    """Hers is 87 pixels wide and 110 high."""
    image = photograph("astronaut")
    assert FaceDetector(CPU, confidence=0.9, min_face=60).largest_faces(image)[1].all()
    assert not FaceDetector(CPU, confidence=0.9, min_face=180).largest_faces(image)[1].any()


def test_an_image_is_searched_as_if_it_were_alone(detector: FaceDetector) -> None:
    images = patches()[[0, 150, 1, 2, 199, 40, 130, 77]]
    boxes, found = detector.largest_faces(images)
    assert found.any() and not found.all()
    for i, image in enumerate(images):
        box, alone = detector.largest_faces(image[None])
        assert bool(alone) == bool(found[i])
        np.testing.assert_allclose(box[0].numpy(), boxes[i].numpy(), atol=1e-3)


def test_images_searched_in_pieces_are_the_same(
    descriptor: FacenetDescriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = patches()[[0, 150, 1, 2, 199]]
    rows, valid = descriptor.embed(images)
    monkeypatch.setattr(facenet, "_PIXELS", 2 * 160 * 160)
    monkeypatch.setattr(facenet, "_FACES", 2)
    monkeypatch.setattr(mtcnn, "_CROPS", 2)
    monkeypatch.setattr(mtcnn, "_PAIRS", 1)
    again, same = descriptor.embed(images)
    assert torch.equal(valid, same)
    assert angles(rows, again)[valid].max() < 1e-3


@pytest.mark.artefacts
def test_faces_of_a_small_generator_are_found(detector: FaceDetector, artefacts: Path) -> None:
    """32 x 32 pixels; of these eyes see a face in nearly all."""
    network = import_file(TESTS / "artefacts" / "networks.py").faces(
        weights=artefacts / "faces" / "generator.pt"
    )
    latents = torch.rand(50, 100, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        images = ((network.eval()(latents) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert int(detector.largest_faces(images)[1].sum()) >= 45


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_the_same_faces(detector: FaceDetector) -> None:
    images = patches()[::5]
    boxes, found = detector.largest_faces(images)
    theirs = FaceDetector(torch.device("cuda"), confidence=0.9, min_face=20)
    other, same = theirs.largest_faces(images.cuda())
    assert int((same.cpu() != found).sum()) <= 1
    both = found & same.cpu()
    assert float((other.cpu() - boxes)[both].abs().max()) < 0.5  # pixels


# -- candidates -------------------------------------------------------------------------------


def some_boxes(count: int, images: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    random = np.random.default_rng(seed)
    corner, sides = random.uniform(-5, 30, (count, 2)), random.uniform(1, 20, (count, 2))
    boxes = torch.from_numpy(np.concatenate([corner, corner + sides], 1)).float()
    scores = torch.from_numpy(random.integers(0, 20, count) / 20).float()  # some are equal
    return boxes, scores, torch.from_numpy(random.integers(0, images, count))


def suppress_slowly(
    boxes: Tensor, scores: Tensor, owner: Tensor, limit: float, smaller: bool
) -> list[int]:
    end, kept = (1 if smaller else 0), []
    for i in sorted(range(len(boxes)), key=lambda i: (-float(scores[i]), i)):
        for k in kept:
            (a, b, c, d), (e, f, g, h) = boxes[i].tolist(), boxes[k].tolist()
            width, height = min(c, g) - max(a, e) + end, min(d, h) - max(b, f) + end
            common = max(0.0, width) * max(0.0, height)
            one, other = (c - a + end) * (d - b + end), (g - e + end) * (h - f + end)
            whole = min(one, other) if smaller else one + other - common
            if owner[i] == owner[k] and common / whole > limit:
                break
        else:
            kept.append(i)
    return sorted(kept)


@pytest.mark.parametrize("smaller", [False, True])
@pytest.mark.parametrize(("count", "images"), [(1, 1), (60, 1), (90, 5), (40, 60)])
def test_overlapping_boxes_go_as_they_do_one_by_one(count: int, images: int, smaller: bool) -> None:
    for seed in range(5):
        boxes, scores, owner = some_boxes(count, images, seed)
        found = suppress(boxes, scores, owner, images, limit=0.4, of_smaller=smaller)
        assert found.tolist() == suppress_slowly(boxes, scores, owner, 0.4, smaller)


def test_a_chain_of_boxes_is_followed_to_its_end() -> None:
    """Each overlaps the next alone, so every second one stays."""
    left = torch.arange(20) * 4.0
    boxes = torch.stack([left, left * 0, left + 6, left * 0 + 10], 1)  # 1/5 of each union
    kept = suppress(boxes, -left, torch.zeros(20, dtype=torch.int64), 1, limit=0.15)
    assert kept.tolist() == list(range(0, 20, 2))


def test_no_boxes_and_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    assert suppress(torch.zeros(0, 4), torch.zeros(0), empty, 3, limit=0.5).tolist() == []
    monkeypatch.setattr(mtcnn, "_CANDIDATES", 3)
    boxes = torch.arange(8)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])  # apart
    scores = torch.tensor([0.1, 0.9, 0.8, 0.7, 0.6, 0.2, 0.3, 0.4])
    owner = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    assert suppress(boxes, scores, owner, 2, limit=0.5).tolist() == [1, 2, 3, 5, 6, 7]


# -- cutting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box",
    [(3.0, 5.0, 40.0, 61.0), (3.4, 5.7, 40.2, 61.9), (0.0, 0.0, 250.0, 190.0), (9, 9, 11, 10)],
)
def test_a_cut_is_that_of_pillow_up_to_its_rounding(box: tuple[float, ...]) -> None:
    images = noise(2, 3, 190, 250)
    found = cut_faces(images, torch.tensor([box] * 2), margin=0)
    for image, got in zip(images, found, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        wanted = picture.resize((160, 160), Image.Resampling.BILINEAR, box=box)
        difference = got.numpy() - np.array(wanted).transpose(2, 0, 1)
        assert np.abs(difference).max() <= 1.6  # Pillow rounds after each pass


def test_the_cut_of_a_whole_image_is_the_preprocessing_of_all_descriptors() -> None:
    steps = Preprocessing(size=(160, 160), mean=(0.0,), std=(1.0,), resize="bilinear")
    for size in ((37, 53), (200, 311)):
        images = noise(2, 3, *size)
        boxes = torch.tensor([[0.0, 0, size[1], size[0]]] * 2)
        found = cut_faces(images, boxes, margin=0)
        np.testing.assert_allclose(found.numpy(), steps.apply(images).numpy() * 255, atol=0.01)


def test_the_margin_is_in_pixels_of_the_result_and_is_clipped() -> None:
    """Of 160 pixels 40 are margin: a box of 30 gets 10 more, 5 on each side."""
    image = noise(1, 3, 100, 100)
    found = cut_faces(image, torch.tensor([[40.0, 50, 70, 80]]), margin=40)
    plain = cut_faces(image, torch.tensor([[35.0, 45, 75, 85]]), margin=0)
    assert torch.allclose(found, plain, atol=1e-3)
    found = cut_faces(image, torch.tensor([[-20.0, 2, 28, 200]]), margin=40)
    plain = cut_faces(image, torch.tensor([[0.0, 0, 36, 100]]), margin=0)
    assert torch.allclose(found, plain, atol=1e-3)


def test_a_box_outside_of_its_image_gives_its_edge() -> None:
    image = noise(1, 3, 10, 10)
    for box in ([20.0, 20, 30, 30], [-9.0, -9, -5, -5], [4.0, 4, 2, 2]):
        assert torch.isfinite(cut_faces(image, torch.tensor([box]), margin=14)).all()


# -- the descriptor ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights in the format of the real ones, of which nobody trained these."""
    from facenet_pytorch import InceptionResnetV1

    torch.manual_seed(0)
    network = InceptionResnetV1().eval()
    faces = Preprocessing(size=(160, 160), mean=(0.5,), std=(0.5,)).apply(patches()[:4])
    raw: list[Tensor] = []
    network.last_linear.register_forward_hook(lambda layer, given, made: raw.append(made))
    with torch.no_grad():
        network(faces)  # around their mean, rows of faces go in all directions
        network.last_bn.running_mean.copy_(raw[0].mean(0))
        network.last_bn.running_var.copy_(raw[0].var(0))
    state = network.state_dict()
    state |= {"logits.weight": torch.randn(8631, 512), "logits.bias": torch.randn(8631)}
    path = tmp_path_factory.mktemp("weights") / "20180402-114759-vggface2.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def descriptor(file: Path) -> FacenetDescriptor:
    return open_facenet("", device=CPU, weights=file)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """facenet-pytorch's own folder of weights, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "checkpoints"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def angles(one: Tensor, other: Tensor) -> Tensor:
    """[N] fractions of pi between rows, exact also where they are small."""
    half = (one.double() - other.double()).norm(dim=1) / 2
    return 2 * torch.arcsin(half.clamp(max=1)) / torch.pi


def test_rows_keep_the_contract_and_images_are_not_written_to(
    descriptor: FacenetDescriptor,
) -> None:
    assert isinstance(descriptor, Descriptor)
    images = patches()[[0, 150, 1, 199, 2]]
    before = images.clone()
    rows, valid = descriptor.embed(images)
    assert torch.equal(images, before)
    check_rows(rows, valid, 5)
    assert rows.shape == (5, 512) and valid.tolist() == [True, False, True, False, True]
    assert not rows[~valid].any() and not rows.requires_grad
    assert angles(rows[:1], rows[2:3]) > 0.05  # so the next test means something
    for i in range(5):
        row, alone = descriptor.embed(images[i : i + 1])
        assert alone.tolist() == [bool(valid[i])]
        assert float(angles(row, rows[i : i + 1])) < 1e-3


def test_no_images_and_no_faces_are_no_trouble(descriptor: FacenetDescriptor) -> None:
    for images in (noise(0, 3, 20, 20), torch.zeros(2, 3, 20, 20, dtype=torch.uint8)):
        rows, valid = descriptor.embed(images)
        check_rows(rows, valid, len(images))
        assert rows.shape == (len(images), 512) and not valid.any()


def test_a_row_is_the_network_on_the_cut_face(descriptor: FacenetDescriptor, file: Path) -> None:
    """(x - 127.5) / 128 of box and margin, as by hand with Pillow."""
    from facenet_pytorch import InceptionResnetV1

    network = InceptionResnetV1().eval()
    state = torch.load(file, weights_only=True)
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("logits")})
    image = photograph("astronaut")
    (box,), _ = FaceDetector(CPU, confidence=0.9, min_face=20).largest_faces(image)
    left, top, right, bottom = box.tolist()
    across, down = (right - left) * 7 / 146, (bottom - top) * 7 / 146
    around = (left - across, top - down, right + across, bottom + down)
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    face = np.array(picture.resize((160, 160), Image.Resampling.BILINEAR, box=around))
    ready = (torch.from_numpy(face).permute(2, 0, 1)[None].float() - 127.5) / 128
    with torch.no_grad():
        wanted = network(ready)
    found, _ = descriptor.embed(image)
    assert float(angles(found, wanted)) < 0.01  # Pillow's rounding
    assert float(angles(found, network(ready.flip(3)).detach())) > 0.03  # which is not nothing


def test_the_card_says_what_decides_a_row(descriptor: FacenetDescriptor, file: Path) -> None:
    card = descriptor.card
    assert card.name == "facenet:vggface2"
    assert card.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (card.theta, card.radius, card.origin) == (None, None, None)
    assert card.licence is not None and "MIT" in card.licence and "VGGFace2" in card.licence
    identity = json.loads(json.dumps(card.identity()))
    said = identity["settings"]
    assert (said["margin"], said["confidence"], said["min_face"]) == (14, 0.9, 20)
    import facenet_pytorch

    folder = Path(facenet_pytorch.__file__).parent / "data"
    for name, sha256 in said["detector_sha256"].items():
        assert sha256 == hashlib.sha256((folder / f"{name}.pt").read_bytes()).hexdigest()
    assert len(said["detector_sha256"]) == 3
    assert identity["preprocessing"]["size"] == [160, 160]


@pytest.mark.usefixtures("no_network")
def test_whole_images_can_be_faces_and_weights_come_from_the_cache(cache: Path, file: Path) -> None:
    cache.mkdir(parents=True)
    (cache / file.name).symlink_to(file)
    opened = open_facenet("vggface2", device=CPU, detect=False)
    images = noise(2, 3, 160, 160)
    rows, valid = opened.embed(images)
    check_rows(rows, valid, 2)
    assert valid.all()
    wanted = opened._network((images.float() - 127.5) / 128)
    assert angles(rows, wanted).max() < 1e-4
    assert opened.card.settings == {"detect": False}
    empty = opened.embed(noise(0, 3, 9, 9))
    assert len(empty[0]) == len(empty[1]) == 0


@pytest.mark.usefixtures("no_network")
def test_without_weights_three_ways_to_get_them_are_named(cache: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        open_facenet("casia-webface", device=CPU)
    said = str(caught.value)
    assert "--set descriptor.weights=FILE" in said
    assert f"put 20180408-102900-casia-webface.pt into {cache}" in said
    assert said.endswith("ganaudit fetch facenet:casia-webface")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "vggface"}, "there is facenet:vggface2 and facenet:casia-webface, got 'vggfac"),
        ({"margin": 160}, "descriptor.margin must be 0 to 159 pixels, got 160"),
        ({"margin": -1}, "descriptor.margin must be 0 to 159 pixels, got -1"),
        ({"confidence": 0.0}, r"descriptor.confidence must be in \(0, 1\], got 0.0"),
        ({"confidence": 1.5}, r"descriptor.confidence must be in \(0, 1\], got 1.5"),
        ({"min_face": 11}, "descriptor.min_face must be 12 pixels or more, got 11"),
        ({"weights": Path("absent.pt")}, "no such file: absent.pt"),
        ({"weights": Path("other.pt")}, r"must hold the weights of facenet: conv2d_1a.conv.weight"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=said) as caught:
        open_facenet(options.pop("target", ""), device=CPU, **options)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_weights_of_the_other_data_set_are_not_taken_for_these(file: Path) -> None:
    with pytest.raises(ConfigError, match="trained on VGGFace2, .*; say facenet:vggface2"):
        open_facenet("casia-webface", device=CPU, weights=file)


def test_weights_of_nobody_knows_whom_are_named_after_their_file(
    tmp_path: Path, file: Path
) -> None:
    state = {k: torch.tensor(v.numpy()) for k, v in read_state_dict(file).tensors.items()}
    mine = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    mine = {k: v for k, v in mine.items() if not k.startswith("logits")}
    safetensors.torch.save_file(mine | {"more": torch.ones(1)}, tmp_path / "mine.safetensors")
    with pytest.raises(ConfigError, match="more does not belong to it"):
        open_facenet("", device=CPU, weights=tmp_path / "mine.safetensors")
    safetensors.torch.save_file(mine, tmp_path / "mine.safetensors")
    opened = open_facenet("", device=CPU, weights=tmp_path / "mine.safetensors", detect=False)
    assert (opened.card.name, opened.card.licence) == ("facenet:mine.safetensors", None)
    assert opened._network.conv2d_1a.conv.weight.dtype == torch.float32


# -- fetching ---------------------------------------------------------------------------------


class Server:
    """Answers every request with `data`, cut after `sent` bytes, and counts them."""

    def __init__(self) -> None:
        self.data, self.status, self.sent = b"", 200, None
        self.announced: int | None = None
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                server.asked.append(self.path)
                self.send_response(server.status)
                if server.announced is not None:
                    self.send_header("Content-Length", str(server.announced))
                self.end_headers()
                self.wfile.write(server.data)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setattr(facenet, "RELEASE", f"http://127.0.0.1:{made.http.server_port}/v")
    monkeypatch.setattr(facenet, "TIMEOUT_S", 10.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=made.http.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def test_fetched_weights_lie_where_they_are_looked_for(
    server: Server, cache: Path, file: Path
) -> None:
    server.data = file.read_bytes()
    path = fetch("")
    assert path == cache / "20180402-114759-vggface2.pt" and server.asked == [f"/v/{path.name}"]
    assert list(cache.iterdir()) == [path] and path.read_bytes() == server.data
    assert fetch("vggface2") == path and len(server.asked) == 1  # it is there already
    server.status = 404
    with pytest.raises(ConfigError):
        fetch("casia-webface")  # which is another file


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": 404}, "HTTP Error 404"),
        ({"data": b"x" * 50, "announced": 90}, "50 of 90 bytes came"),
        ({"data": b"x" * 2000}, "it has more than 1000 bytes"),
        ({"data": b"<html>moved</html>"}, "cannot be read as a checkpoint"),
        ({"data": safetensors.torch.save({"a": torch.ones(2)})}, "conv2d_1a.conv.weight is missi"),
    ],
)
def test_a_failed_download_leaves_nothing_and_names_the_way_by_hand(
    server: Server, cache: Path, answer: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facenet, "MAX_DOWNLOAD", 1000)
    for name, value in answer.items():
        setattr(server, name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        fetch("casia-webface")
    text = str(caught.value)
    assert f"{facenet.RELEASE}/20180408-102900-casia-webface.pt could not be fetched" in text
    assert text.endswith(f"download it by hand into {cache}")
    assert list(cache.iterdir()) == []


def test_weights_of_the_other_data_set_are_not_kept(
    server: Server, cache: Path, file: Path
) -> None:
    server.data = file.read_bytes()
    with pytest.raises(ConfigError, match="it was trained on another data set"):
        fetch("casia-webface")
    assert list(cache.iterdir()) == []


def test_no_server_and_an_unknown_target(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(facenet, "RELEASE", f"http://127.0.0.1:{free.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(ConfigError, match="could not be fetched .*refused.*; download it by"):
            fetch("")
    assert list(cache.iterdir()) == []
    with pytest.raises(ConfigError, match="there is facenet:vggface2 and"):
        fetch("vgg")
