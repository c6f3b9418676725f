"""A stored config comes back as it was, and nothing in it runs."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from support.factories import CLASSES

from al_loop.core.errors import ModelError
from al_loop.core.files import file_sha256
from al_loop.detector.config.model_config import build_model, load_model_config
from al_loop.detector.config.stored_config import encode_config, read_config, write_config

#: A file that an attack would make.
TRACE = "trace-of-an-attack"


@pytest.fixture(scope="module")
def small() -> Any:
    return load_model_config("small", CLASSES, (96, 64))


@pytest.fixture
def saved(small: Any, tmp_path: Path) -> Callable[[Any], Path]:
    """Write a small model's config with a change to a model's folder."""

    def save(change: Callable[[dict[str, Any]], object] = lambda config: None) -> Path:
        config = json.loads(encode_config(small))
        change(config)
        folder = tmp_path / "model"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return save


def test_a_config_comes_back_as_it_was(tmp_path: Path) -> None:
    """Tuples too: FPN insists on a list, an assigner's range on a tuple."""
    classes = ("{{$HOME:x}}", '"; import os', "{{ fileDirname }}", "Schraube ß", "a\\u007b\n")
    config = load_model_config("small", classes, (96, 64))
    config.model.train_cfg.rpn.assigner.neg_iou_thr = (0.0, 0.3)
    digest = write_config(tmp_path, config)
    assert file_sha256(tmp_path / "config.json") == digest
    again = read_config(tmp_path, digest)
    assert again.to_dict() == config.to_dict()
    assert again.classes == classes
    assert again.image_size == (96, 64)
    assert again.model.train_cfg.rpn.assigner.neg_iou_thr == (0.0, 0.3)
    assert again.model.neck.in_channels == [32, 64, 128, 256]
    # mmengine, too, reads the same names: it finds no braces to replace.
    assert Config.fromfile(tmp_path / "config.json").classes == list(classes)


def test_only_what_is_used_is_kept(tmp_path: Path) -> None:
    base = Path(load_model_config.__globals__["resource"]("configs/model/small.py"))
    (tmp_path / "mine.py").write_text(
        f"_base_ = {str(base)!r}\nload_from = 'x.pth'\nresume = True\ncustom_hooks = [dict(type='EMAHook')]\n"
        "default_hooks = dict(visualization=dict(type='DetVisualizationHook'))\nenv_cfg = "
        "dict(cudnn_benchmark=True)\n"
    )
    config = load_model_config(str(tmp_path / "mine.py"), CLASSES)
    assert set(config.keys()) == {
        "classes", "default_scope", "enlarge", "fine_tune_lr", "image_size", "model", "notes",
        "optim_wrapper", "resize",
    }  # fmt: skip


def test_a_changed_config_is_refused(saved: Callable[..., Path]) -> None:
    folder = saved()
    digest = file_sha256(folder / "config.json")
    read_config(folder, digest)
    saved(lambda config: config["model"]["test_cfg"]["rcnn"].update(max_per_img=1))
    with pytest.raises(ModelError, match=rf"config\.json was changed: expected SHA-256 {digest}"):
        read_config(folder, digest)


@pytest.mark.integration
def test_the_config_of_an_older_workspace_is_parsed(tmp_path: Path) -> None:
    """As `Config.dump` wrote it, with a class name that mmengine would have replaced."""
    config = load_model_config("small", ("{{$HOME:x}}", "nut"), (96, 64))
    Config(config.to_dict()).dump(tmp_path / "config.py")
    again = read_config(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert again.classes == ("{{$HOME:x}}", "nut")
    build_model(again)


@pytest.mark.integration
@pytest.mark.parametrize(
    "line",
    [
        "import os; os.system('touch {trace}')",
        "__import__('os').system('touch {trace}')",
        "x = __import__('os').system('touch {trace}')",
        "x = dict(a=open('{trace}', 'w'))",
        "x = [open('{trace}', 'w') for _ in (1,)]",
        'x = f\'{{open("{trace}", "w")}}\'',
        "x = float(open('{trace}', 'w'))",
        "def f(x=open('{trace}', 'w')): pass",
        "class A: open('{trace}', 'w')",
        "x = lambda: 0",
        "x = 9 ** 9 ** 9",
        "x = " + "[" * 100_000,
        "model = " + "[" * 80 + "]" * 80,
    ],
)
def test_python_in_an_older_config_is_refused(small: Any, tmp_path: Path, line: str) -> None:
    Config(small.to_dict()).dump(tmp_path / "config.py")
    trace = tmp_path / TRACE
    with (tmp_path / "config.py").open("a") as file:
        file.write("\n" + line.replace("{trace}", str(trace)) + "\n")
    with pytest.raises(ModelError, match="holds more than data"):
        read_config(tmp_path)
    assert not trace.exists()


def set_in(*path: str | int) -> Callable[[Any], Callable[[dict[str, Any]], None]]:
    """Return a function that makes a change: it sets a value at a place of a config."""

    def with_value(value: Any) -> Callable[[dict[str, Any]], None]:
        def change(config: dict[str, Any]) -> None:
            node: Any = config
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = value

        return change

    return with_value


PROCESS = {"type": "subprocess.Popen", "args": ["touch", "{trace}"]}
SHELL = {"type": "os.system", "command": "touch {trace}"}
ATTACKS = {
    "a process as the model": set_in("model")(PROCESS),
    "a process as the backbone": set_in("model", "backbone")(PROCESS),
    "a shell as the neck": set_in("model", "neck")(SHELL),
    "a process as a loss": set_in("model", "rpn_head", "loss_cls")(PROCESS),
    "a process as a normalisation": set_in("model", "backbone", "norm_cfg")(PROCESS),
    "a process as an assigner": set_in("model", "train_cfg", "rpn", "assigner")(PROCESS),
    "a process in a list": set_in("model", "backbone", "plugins")([{"cfg": PROCESS, "stages": [True]}]),
    "a module by a bare name": set_in("model", "roi_head", "bbox_head", "type")("hostile_module"),
    "a module as a scope": set_in("model", "backbone", "type")("hostile_package.ResNet"),
    "a module as _scope_": set_in("model", "backbone", "_scope_")("hostile_package"),
    "mmengine's own names": set_in("model", "backbone")(
        {"type": "mmengine.config.Config.fromfile", "filename": "{hostile}"}
    ),
    "eval in NMS":
        set_in("model", "test_cfg", "rcnn", "nms", "type")("__import__('os').system('touch {trace}')"),
    "eval in a tracker": set_in("model", "train_cfg", "rcnn", "sampler")(
        {"type": "CameraMotionCompensation", "warp_mode": "__import__('os').system('touch {trace}')"}
    ),
    "a layer of mmcv.ops by name":
        set_in("model", "roi_head", "bbox_roi_extractor", "roi_layer", "type")("nms.eval"),
    "a distilling teacher, whose config is executed": set_in("model", "backbone")(
        {"type": "KnowledgeDistillationSingleStageDetector", "backbone": {}, "neck": {}, "bbox_head": {},
         "teacher_config": "{hostile}"}
    ),
    "a language model": set_in("model", "backbone")({"type": "BertModel", "name": "bert-base-uncased"}),
    "weights of a pickle":
        set_in("model", "backbone", "init_cfg")({"type": "Pretrained", "checkpoint": "{pickle}"}),
    "weights of a pickle, in a list": set_in("model", "neck", "init_cfg")(
        [{"type": "Xavier", "layer": "Conv2d"}, {"type": "Pretrained", "checkpoint": "{pickle}"}]
    ),
    "weights of a pickle, as an override": set_in("model", "rpn_head", "init_cfg")(
        {"type": "Normal", "layer": "Conv2d",
         "override": {"type": "Pretrained", "name": "rpn_cls", "checkpoint": "{pickle}"}}
    ),
    "pretrained": set_in("model", "backbone", "pretrained")("{pickle}"),
    "a process as the optimiser": set_in("optim_wrapper", "optimizer")(PROCESS),
    "a shell as its wrapper": set_in("optim_wrapper")({**SHELL, "optimizer": {"type": "SGD", "lr": 0.1}}),
    "a module as what builds the optimiser":
        set_in("optim_wrapper", "constructor")("hostile_module.Constructor"),
    "a table as a word": set_in("model", "test_cfg", "rcnn", "nms", "type")(SHELL),
    "a table as a scope": set_in("model", "backbone", "_scope_")({"mmdet": 1}),
    "a module to import": set_in("custom_imports")(["hostile_module"]),
    "modules, as mmengine names them": set_in("custom_imports")({"imports": ["hostile_module"]}),
    "a path as a module": set_in("custom_imports")(["../hostile_module"]),
    "no model": set_in("model")(None),
    "words as sizes": set_in("image_size")("96x64"),
    "deep nesting": set_in("model", "backbone", "x")("DEEP"),
    "nesting that JSON can hold": set_in("model", "backbone", "x")("NESTED"),
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_leaves_no_trace(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    """Refused with a message; or, where weights are named, built without them."""
    trace, hostile = tmp_path / TRACE, tmp_path / "code"
    (hostile / "hostile_package").mkdir(parents=True)
    code = f"open({str(trace)!r}, 'w')\nclass ResNet: pass\n"
    for name in ("hostile_module.py", "hostile_package/__init__.py", "hostile_package/registry.py"):
        (hostile / name).write_text(code)

    class Touch:
        def __reduce__(self) -> Any:
            return open, (str(trace), "w")

    (hostile / "weights.pth").write_bytes(pickle.dumps(Touch()))
    monkeypatch.syspath_prepend(str(hostile))
    folder = saved(ATTACKS[attack])
    text = (folder / "config.json").read_text()
    places = {
        "{trace}": trace,
        "{hostile}": hostile / "hostile_module.py",
        "{pickle}": hostile / "weights.pth",
    }
    for name, path in places.items():
        text = text.replace(name, str(path))
    text = text.replace('"DEEP"', "[" * 100_000 + "]" * 100_000).replace('"NESTED"', "[" * 300 + "]" * 300)
    (folder / "config.json").write_text(text)
    if attack.startswith("weights of a pickle") or attack == "pretrained":
        build_model(read_config(folder))
    else:
        with pytest.raises(ModelError) as refused:
            read_config(folder)
        assert len(str(refused.value)) < 700
    assert not trace.exists()
    assert not [name for name in sys.modules if name.startswith("hostile")]


def test_modules_of_a_trusted_workspace_are_imported(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing module is named; an imported one registers its parts."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "own_backbone.py").write_text(
        "from mmdet.models.backbones import ResNet\nfrom mmdet.registry import MODELS\n"
        "@MODELS.register_module(force=True)\nclass OwnBackbone(ResNet):\n    pass\n"
    )

    def with_module(config: dict[str, Any]) -> None:
        config["model"]["backbone"]["type"] = "OwnBackbone"
        config["custom_imports"] = ["own_backbone"]

    folder = saved(with_module)
    with pytest.raises(ModelError, match=r"names own_backbone in custom_imports.*al-loop models trust"):
        read_config(folder)
    with pytest.raises(ModelError, match=r"needs the module own_backbone.*cannot be imported.*PYTHONPATH"):
        read_config(folder, trusted=True)
    monkeypatch.syspath_prepend(str(code))
    assert type(build_model(read_config(folder, trusted=True)).backbone).__name__ == "OwnBackbone"
    # Once imported, it needs no approval.
    read_config(folder)
    sys.modules.pop("own_backbone")
    shutil.rmtree(code)


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{", b"\xff\xfe", b'{"model": 1}', b"x" * (5 << 20)])
def test_a_damaged_config_is_refused(saved: Callable[..., Path], content: bytes) -> None:
    folder = saved()
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"config\.json"):
        read_config(folder)
