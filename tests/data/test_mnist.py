"""IDX files of MNIST and its kin are found, fetched and joined, or the error says which are missing or do not fit."""

import gzip
import hashlib
import struct

import pytest
import torch

from ignite_recipes.data.images import DatasetRegistry
from ignite_recipes.data.mnist import emnist, fashion_mnist, kmnist, mnist

NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
KINDS = [
    pytest.param(mnist, "MNIST", id="mnist"),
    pytest.param(fashion_mnist, "FashionMNIST", id="fashion_mnist"),
    pytest.param(kmnist, "KMNIST", id="kmnist"),
]
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
    for table in ("_MNIST", "_FASHION_MNIST", "_KMNIST"):
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
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_files_with_a_dot_in_their_names_are_found_too(tmp_path, make, folder, ending):
    files, tensors = contents()
    dotted = {name.replace("-idx", ".idx"): data for name, data in files.items()}
    place(tmp_path / folder / "raw", dotted, packed=dotted if ending else ())
    assert_holds(make(tmp_path, url="nonsense://"), tensors)


def test_of_both_spellings_the_dash_is_read_and_a_folder_is_no_file(tmp_path):
    files, tensors = contents()
    others, _ = contents(num_train=2)
    place(tmp_path / "MNIST" / "raw", files | {name.replace("-idx", ".idx"): others[name] for name in NAMES})
    assert_holds(mnist(tmp_path, download=False), tensors)
    (tmp_path / "MNIST" / "raw" / NAMES[0]).unlink()
    (tmp_path / "MNIST" / "raw" / NAMES[0]).mkdir()  # as an archive that was unpacked file by file leaves it
    place(tmp_path / "MNIST" / "raw", {"train-images.idx3-ubyte": files[NAMES[0]]})
    assert_holds(mnist(tmp_path, download=False), tensors)


@kinds
def test_another_data_set_under_these_names_has_its_own_number_of_classes(tmp_path, caplog, make, folder):
    files, _ = contents()
    labels = torch.tensor([1, 25, 3, 4, 5, 6, 7], dtype=torch.uint8)
    place(tmp_path / folder / "raw", files | {NAMES[1]: idx(labels)})
    dataset = make(tmp_path, download=False)
    assert (dataset.num_classes, dataset.train.labels.tolist()) == (26, labels.tolist())
    assert f"{make.__name__}: 26 classes, so the files are of another data set" in caplog.text


def emnist_files(split, labels, num_val=3, dotted=False):
    """The bytes of a split's files, and what is in them as it should be read: upright."""
    files, tensors = contents(len(labels), num_val)
    files[NAMES[1]] = idx(torch.tensor(labels, dtype=torch.uint8))
    files[NAMES[3]] = idx(torch.tensor(labels[:num_val], dtype=torch.uint8))
    names = {name: f"emnist-{split}-{name.replace('-idx', '.idx') if dotted else name}" for name in NAMES}
    return {names[name]: data for name, data in files.items()}, tensors[0].mT, tensors[2].mT


@pytest.mark.parametrize("dotted", [False, True], ids=["dash", "dot"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("inside", ["", "gzip"])
def test_emnist_letters_are_upright_and_counted_from_0(tmp_path, dotted, packed, inside):
    files, train, val = emnist_files("letters", [2, 26, 5, 9], dotted=dotted)  # no a among them
    place(tmp_path / "EMNIST" / "raw" / inside, files, packed=files if packed else ())
    dataset = emnist(tmp_path)
    assert (dataset.name, dataset.num_classes) == ("emnist_letters", 26)
    assert dataset.train.labels.tolist() == [1, 25, 4, 8]
    assert torch.equal(dataset.train.images.squeeze(1), train)
    assert torch.equal(dataset.val.images.squeeze(1), val)
    assert dataset.train.images.is_contiguous()


CLASSES = {"balanced": 47, "byclass": 62, "bymerge": 47, "digits": 10, "letters": 26, "mnist": 10}


@pytest.mark.parametrize("split", CLASSES)
def test_each_split_of_emnist_has_its_number_of_classes_and_its_name_in_the_registry(tmp_path, split):
    for each in CLASSES:
        place(tmp_path / "EMNIST" / "raw", emnist_files(each, [1, 2, 3])[0])
    dataset = DatasetRegistry.create(f"emnist_{split}", root=tmp_path)
    first = int(split == "letters")
    assert (dataset.num_classes, dataset.train.labels.tolist()) == (CLASSES[split], [1 - first, 2 - first, 3 - first])
    assert DatasetRegistry.create("emnist", root=tmp_path, split=split).name == dataset.name
    with pytest.raises(
        ValueError, match=r"holds several splits of EMNIST, balanced, byclass.*--dataset emnist_balanced"
    ):
        emnist(tmp_path)


def test_emnist_that_is_missing_or_unknown_is_refused(tmp_path):
    message = r"EMNIST/raw must hold EMNIST's files, e.g. emnist-{}-train-images-idx3-ubyte, plain or .gz: unpack http"
    with pytest.raises(FileNotFoundError, match=message.format("letters")):
        emnist(tmp_path)
    place(tmp_path / "EMNIST" / "raw", emnist_files("digits", [1, 2, 3])[0])
    with pytest.raises(FileNotFoundError, match=message.format("byclass")):
        emnist(tmp_path, split="byclass")
    with pytest.raises(ValueError, match=r"split must be one of balanced.*got 'kana'"):
        emnist(tmp_path, split="kana")
    for labels, got in (([1, 10, 3], "labels from 0 to 9; got 1 to 10"), ([0, 2, 3], "from 1 to 26; got 0 to 3")):
        split = "digits" if "9" in got else "letters"
        place(tmp_path / "EMNIST" / "raw", emnist_files(split, labels)[0])
        with pytest.raises(ValueError, match=rf"emnist-{split}-train-labels-idx1-ubyte and .*{got}: take"):
            emnist(tmp_path, split=split)


@pytest.mark.parametrize(
    ("labels", "num_classes", "read"),
    [([0, 4, 2], 5, [0, 4, 2]), ([1, 26, 3], 26, [0, 25, 2]), ([3, 48, 0], 49, [3, 48, 0])],
    ids=["5 classes", "26, from 1", "49 classes"],
)
@pytest.mark.parametrize("spelt", [str, lambda name: name.replace("t10k", "test").replace("-idx", ".idx")])
@pytest.mark.parametrize("prefix", ["", "kana-"])
def test_any_folder_of_idx_files_is_a_data_set(tmp_path, labels, num_classes, read, spelt, prefix):
    files, tensors = contents(3, 3)
    files |= {name: idx(torch.tensor(labels, dtype=torch.uint8)) for name in (NAMES[1], NAMES[3])}
    place(tmp_path / "own", {prefix + spelt(name): data for name, data in files.items()})
    dataset = DatasetRegistry.create("idx", root=tmp_path / "own")
    assert (dataset.name, dataset.num_classes) == (prefix.strip("-") or "own", num_classes)
    assert dataset.val.labels.tolist() == read
    assert torch.equal(dataset.val.images.squeeze(1), tensors[2])


def test_a_folder_of_idx_files_that_is_not_one_data_set_is_refused(tmp_path):
    create = DatasetRegistry.create
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*own: pass .* as root \(--data-root\)"):
        create("idx", root=tmp_path / "own")
    files, _ = contents()
    place(tmp_path / "own", {NAMES[0]: files[NAMES[0]]})
    with pytest.raises(
        FileNotFoundError, match=rf"own must hold {NAMES[1]}, {NAMES[2]}, {NAMES[3]}, with a dash or a dot"
    ):
        create("idx", root=tmp_path / "own")
    place(tmp_path / "own", files | emnist_files("letters", [1, 2, 3])[0])
    with pytest.raises(
        ValueError, match="own holds several data sets: pass the prefix of one, of '', 'emnist-letters-'"
    ):
        create("idx", root=tmp_path / "own")
    letters = create("idx", root=tmp_path / "own", prefix="emnist-letters-")
    assert (letters.name, letters.train.labels.tolist()) == ("emnist-letters", [0, 1, 2])
    halves = struct.pack(">BBBBI", 0, 0, 0x0D, 1, 7) + bytes(28)
    place(tmp_path / "own", {NAMES[1]: halves})
    with pytest.raises(ValueError, match=rf"{NAMES[0]} must hold bytes.*{NAMES[1]} whole numbers; got .*float32"):
        create("idx", root=tmp_path / "own", prefix="")


@kinds
def test_all_are_entered_in_the_registry(tmp_path, make, folder):
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
    [
        (mnist, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        (fashion_mnist, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        (kmnist, "bdb82020997e1d708af4cf47b453dcf7"),
    ],
    ids=["mnist", "fashion_mnist", "kmnist"],
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
        pytest.param(NAMES[0], torch.zeros(7, 28, 28, 3), r"got \(7, 28, 28, 3\) and \(7,\)"),
    ],
    ids=["too few images", "too many labels", "labels in a column", "rows", "other sizes", "colours"],
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
