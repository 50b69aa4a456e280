"""MNIST's files are found, fetched and joined, or the error says which are missing or do not go together."""

import gzip
import hashlib
import struct

import pytest
import torch

from ignite_recipes.data.images import DatasetRegistry
from ignite_recipes.data.mnist import fashion_mnist, mnist

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
KINDS = [pytest.param(mnist, "MNIST", id="mnist"), pytest.param(fashion_mnist, "FashionMNIST", id="fashion_mnist")]
kinds = pytest.mark.parametrize(("make", "folder"), KINDS)


def idx(tensor):
    header = struct.pack(f">BBBB{tensor.ndim}I", 0, 0, 8, tensor.ndim, *tensor.shape)
    return header + tensor.numpy().tobytes()


def contents(num_train=7, num_val=3):
    """The bytes of the four files, and what is in them."""
    generator = torch.Generator().manual_seed(0)
    tensors = []
    for n in (num_train, num_val):
        tensors.append(torch.randint(0, 256, (n, 28, 28), generator=generator, dtype=torch.uint8))
        tensors.append(torch.randint(0, 10, (n,), generator=generator, dtype=torch.uint8))
    return {name: idx(tensor) for name, tensor in zip(NAMES, tensors, strict=True)}, tensors


def place(folder, files, packed=()):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        if name in packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The four files packed, on an address of this machine, with hashes that are theirs."""
    files, _ = contents()
    place(tmp_path / "mirror", files, packed=NAMES)
    hashes = {name: hashlib.md5((tmp_path / "mirror" / f"{name}.gz").read_bytes()).hexdigest() for name in NAMES}
    for table in ("_MNIST", "_FASHION_MNIST"):
        monkeypatch.setitem(mnist.__globals__, table, hashes)
    return tmp_path / "mirror"


def assert_holds(dataset, tensors):
    parts = (dataset.train.images, dataset.train.labels, dataset.val.images, dataset.val.labels)
    assert [part.squeeze(1).tolist() for part in (parts[0], parts[2])] == [tensors[0].tolist(), tensors[2].tolist()]
    assert [part.tolist() for part in (parts[1], parts[3])] == [tensors[1].tolist(), tensors[3].tolist()]
    assert (parts[0].dtype, dataset.num_classes, dataset.input_shape) == (torch.uint8, 10, (1, 28, 28))


@kinds
@pytest.mark.parametrize("packed", [[], NAMES, NAMES[1:3]], ids=["plain", "packed", "mixed"])
def test_files_in_place_are_read_whole_and_nothing_is_fetched(tmp_path, make, folder, packed):
    files, tensors = contents()
    place(tmp_path / folder / "raw", files, packed)
    before = sorted((tmp_path / folder / "raw").iterdir())
    dataset = make(tmp_path, url="nonsense://", transform=None)
    assert_holds(dataset, tensors)
    assert dataset.name == make.__name__
    assert sorted((tmp_path / folder / "raw").iterdir()) == before
    train_loader, val_loader = dataset.get_dataloaders(batch_size=4)
    assert torch.equal(torch.cat([images for images, _ in val_loader]), tensors[2].unsqueeze(1) / 255)
    assert sum(len(labels) for _, labels in train_loader) == 7


@kinds
def test_both_are_entered_in_the_registry(tmp_path, make, folder):
    files, tensors = contents(2, 1)
    place(tmp_path / folder / "raw", files)
    assert_holds(DatasetRegistry.create(make.__name__, root=str(tmp_path), download=False), tensors)


@kinds
def test_the_folder_is_by_default_data(tmp_path, monkeypatch, make, folder):
    files, tensors = contents()
    place(tmp_path / "data" / folder / "raw", files)
    monkeypatch.chdir(tmp_path)
    assert_holds(make(), tensors)


@kinds
@pytest.mark.parametrize("there", [[], NAMES[:1], NAMES[:3], NAMES], ids=len)
def test_only_what_is_missing_is_fetched(tmp_path, mirror, make, folder, there):
    files, tensors = contents()
    place(tmp_path / folder / "raw", {name: files[name] for name in there})
    assert_holds(make(tmp_path, url=mirror.as_uri()), tensors)
    expected = {name if name in there else f"{name}.gz" for name in NAMES}
    assert {path.name for path in (tmp_path / folder / "raw").iterdir()} == expected


def test_what_was_fetched_is_not_fetched_again(tmp_path, mirror):
    mnist(tmp_path, url=mirror.as_uri())
    mnist(tmp_path, url="nonsense://")


def test_a_wrong_file_of_the_mirror_stops_there_and_leaves_nothing_of_it(tmp_path, mirror):
    (mirror / f"{NAMES[1]}.gz").write_bytes(b"another")
    with pytest.raises(OSError, match=rf"could not fetch file:.*{NAMES[1]}.gz: 7 bytes came.*by hand"):
        mnist(tmp_path, url=mirror.as_uri())
    assert [path.name for path in (tmp_path / "MNIST" / "raw").iterdir()] == [f"{NAMES[0]}.gz"]


@pytest.mark.parametrize(
    ("make", "published"),
    [(mnist, "f68b3c2dcbeaaa9fbdd348bbdeb94873"), (fashion_mnist, "8d4fb7e6c68d591d4c3dfef9ec88bf0d")],
    ids=["mnist", "fashion_mnist"],
)
def test_other_files_than_the_published_ones_are_not_taken(tmp_path, make, published):
    files, _ = contents()
    place(tmp_path / "mirror", files, packed=NAMES)
    with pytest.raises(OSError, match=f"{NAMES[0]}.gz: .* bytes came whose MD5 is .*, not {published}"):
        make(tmp_path, url=(tmp_path / "mirror").as_uri())


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_address_may_end_in_a_slash(tmp_path, slash):
    with pytest.raises(OSError, match=f"could not fetch file:///nowhere/{NAMES[0]}.gz: "):
        mnist(tmp_path, url=f"file:///nowhere{slash}")


@kinds
def test_without_download_all_missing_files_are_named(tmp_path, make, folder):
    files, _ = contents()
    place(tmp_path / folder / "raw", {NAMES[1]: files[NAMES[1]]})
    message = rf"{folder}/raw must hold {NAMES[0]}, {NAMES[2]}, {NAMES[3]}, plain or .gz.*download=True"
    with pytest.raises(FileNotFoundError, match=message):
        make(tmp_path, download=False)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        pytest.param(NAMES[0], torch.zeros(6, 28, 28), rf"{NAMES[0]} and .*{NAMES[1]} must.*\(6, 28, 28\) and \(7,\)"),
        pytest.param(NAMES[3], torch.zeros(4), rf"{NAMES[3]} must.*\(3, 28, 28\) and \(4,\)"),
        pytest.param(NAMES[1], torch.zeros(7, 1), r"got \(7, 28, 28\) and \(7, 1\)"),
        pytest.param(NAMES[2], torch.zeros(3, 784), r"got \(3, 784\) and \(3,\)"),
        pytest.param(NAMES[2], torch.zeros(3, 8, 8), r"one shape.*\(1, 28, 28\) and \(1, 8, 8\) in mnist"),
        pytest.param(NAMES[1], torch.full((7,), 10), r"below num_classes, 10; got 10 in mnist"),
    ],
    ids=["too few images", "too many labels", "labels in a column", "rows", "other sizes", "an eleventh class"],
)
def test_files_that_do_not_go_together_are_refused(tmp_path, name, tensor, message):
    files, _ = contents()
    place(tmp_path / "MNIST" / "raw", files | {name: idx(tensor.to(torch.uint8))})
    with pytest.raises(ValueError, match=message):
        mnist(tmp_path)


def test_a_damaged_file_is_named(tmp_path):
    files, _ = contents()
    place(tmp_path / "MNIST" / "raw", files | {NAMES[2]: files[NAMES[2]][:-1]})
    with pytest.raises(ValueError, match=rf"raw/{NAMES[2]}: cut short"):
        mnist(tmp_path)


def test_settings_reach_the_data_set(tmp_path):
    files, _ = contents()
    place(tmp_path / "MNIST" / "raw", files)
    one, other = (mnist(tmp_path, seed=seed).train for seed in (1, 2))
    assert repr(one.transform).startswith("RandomAffine")
    assert not torch.equal(one[0][0], other[0][0])
    assert mnist(tmp_path, transform=None).train.transform is None
