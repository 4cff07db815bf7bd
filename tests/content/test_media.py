from __future__ import annotations

import io
import json
import wave
from typing import Any

import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as Pillow

from mlrun.content import arrays, catalog, images, media, sounds

mpl.use("Agg")


def decoded(body: Any) -> Any:
    return np.asarray(Pillow.open(io.BytesIO(body.source)))


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 12), st.integers(5, 12), st.sampled_from([1, 3, 4])),
    )
)
@settings(deadline=None)
def test_png_of_any_pixels_is_read_back_by_pillow(pixels: Any) -> None:
    assert np.array_equal(decoded(images.encode(pixels)).reshape(pixels.shape), pixels)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0.0, 1.0], [0.5, np.nan]]), [[0, 255], [128, 0]]),
        (np.array([[0.0, 255.0], [128.0, 300.0]]), [[0, 255], [128, 255]]),
        (np.array([[-0.2, 1.0001], [np.inf, -np.inf]]), [[0, 255], [255, 0]]),
        (np.array([[True, False], [False, True]]), [[255, 0], [0, 255]]),
        (np.array([[0, 65535], [256, 512]], np.uint16), [[0, 255], [1, 2]]),
        (np.array([[-5, 300], [7, 8]], np.int64), [[0, 255], [7, 8]]),
        ([[0, 255], [7, 8]], [[0, 255], [7, 8]]),
        (np.array([[0.5, 0.25], [1, 0]], np.float16), [[128, 64], [255, 0]]),
    ],
)
def test_values_of_pixels(array: Any, expected: list[list[int]]) -> None:
    assert decoded(images.encode(array)).tolist() == expected


def test_channels_first_is_understood() -> None:
    body = images.encode(np.zeros((3, 20, 30), np.float32))
    assert (body.meta["width"], body.meta["height"], body.meta["channels"]) == (30, 20, 3)
    assert images.encode(np.zeros((1, 3, 20, 30))).meta["width"] == 30


@pytest.mark.parametrize(
    "value",
    [np.zeros(5), np.zeros((2, 3, 5, 7)), np.zeros((0, 5)), np.zeros((9, 9), complex), np.array([["a"]]),
     [[1], [2, 3]], b"no picture", object(), np.zeros((9, 9, 7))],
)  # fmt: skip
def test_what_is_no_picture(value: Any) -> None:
    with pytest.raises(TypeError):
        images.encode(value)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "1", "P", "F", "LA"])
def test_pillow_images_of_every_mode(run: Any, mode: str) -> None:
    item = catalog.log_image(run, "x", Pillow.new(mode, (6, 4)), caption="six by four", step=3)
    assert (item.meta["width"], item.meta["height"], item.meta["caption"]) == (6, 4, "six by four")
    assert item.load().shape[:2] == (4, 6)


@pytest.mark.parametrize(
    ("kind", "format"), [("PNG", "png"), ("JPEG", "jpg"), ("GIF", "gif"), ("WEBP", "webp")]
)
def test_picture_files_and_bytes_stay_as_they_are(
    run: Any, tmp_path: Any, kind: str, format: str
) -> None:
    file = tmp_path / f"p.{kind.lower()}"
    Pillow.new("RGB", (8, 8), "red").save(file, kind)
    by_path = catalog.log_image(run, "p", file)
    by_text = catalog.log_image(run, "p", str(file))
    by_bytes = catalog.log_image(run, "p", file.read_bytes())
    assert by_path.sha256 == by_text.sha256 == by_bytes.sha256
    assert by_path.meta["format"] == by_bytes.meta["format"] == format
    assert by_path.get() == file.read_bytes()
    assert by_path.load().shape[:2] == (8, 8)


def test_matplotlib_figures_are_png_and_the_same_figure_is_the_same_bytes(run: Any) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    axes = figure.subplots()
    axes.plot([1, 2, 3])
    item = catalog.log_figure(run, "roc", figure, caption="c")
    assert (item.type, item.meta["format"], item.meta["caption"]) == ("figure", "png", "c")
    assert item.load().shape == (item.meta["height"], item.meta["width"], 4)
    assert catalog.log_figure(run, "roc", axes).sha256 == item.sha256
    import matplotlib.pyplot as plt

    plt.figure()
    assert catalog.log_figure(run, "current", plt).meta["format"] == "png"
    plt.close("all")


def test_plotly_figures_keep_everything(run: Any) -> None:
    figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]))
    item = catalog.log_figure(run, "p", figure)
    assert item.meta["format"] == "plotly"
    assert item.load() == figure


def test_what_is_no_figure_warns(run: Any) -> None:
    assert "no figure" in catalog.log_figure(run, "x", 3).error
    assert run.warnings.pop("artifact:x")


@pytest.mark.parametrize("shape", [(800,), (800, 2), (2, 800)])
@pytest.mark.parametrize("kind", [np.float32, np.int16, np.int32, np.uint8])
def test_sounds(run: Any, shape: Any, kind: Any) -> None:
    samples = np.linspace(0, 1, 800 * len(shape)).reshape(shape)
    samples = samples.astype(kind) if kind == np.float32 else (samples * 100).astype(kind)
    item = catalog.log_audio(run, "a", samples, 8000)
    assert (item.meta["rate"], item.meta["seconds"], item.meta["channels"]) == (
        8000,
        0.1,
        len(shape),
    )
    with wave.open(io.BytesIO(item.get())) as file:
        assert (file.getnframes(), file.getframerate(), file.getnchannels()) == (
            800,
            8000,
            len(shape),
        )
    back, rate = item.load()
    expected = samples.T if shape == (2, 800) else samples
    expected = (
        np.rint(expected.astype(np.float64) * 32767).astype(np.int16)
        if kind == np.float32
        else expected
    )
    assert rate == 8000
    assert np.array_equal(back, expected)


@pytest.mark.parametrize(
    "value", [np.zeros((5, 5, 5)), np.zeros(5, complex), np.zeros((100, 100)), b"nothing", object()]
)
def test_what_is_no_sound(value: Any) -> None:
    with pytest.raises(TypeError):
        sounds.encode_audio(value, 100)
    with pytest.raises(TypeError, match=r"rate=|no WAV"):
        sounds.encode_audio(np.zeros(5) if not isinstance(value, bytes) else value)


def test_videos(run: Any, tmp_path: Any) -> None:
    data = b"\0\0\0\x18ftypmp42" + b"\0" * 50
    (tmp_path / "v.mp4").write_bytes(data)
    assert catalog.log_video(run, "v", tmp_path / "v.mp4").meta["format"] == "mp4"
    assert catalog.log_video(run, "v", data).meta["format"] == "mp4"
    assert catalog.log_video(run, "bad", np.zeros((2, 3))).error
    assert run.warnings.pop("artifact:bad")


def test_html_is_kept_as_text_and_never_run(run: Any, tmp_path: Any) -> None:
    page = "<script>alert('x')</script>"
    item = catalog.log_html(run, "page", page)
    assert (item.type, item.load()) == ("html", page)
    (tmp_path / "page.html").write_text(page)
    assert catalog.log_html(run, "page", str(tmp_path / "page.html")).sha256 == item.sha256
    assert "<script>" not in item._repr_html_()


def test_histograms(run: Any) -> None:
    item = catalog.log_histogram(
        run, "h", [0.0, 1.0, 1.0, float("nan"), float("inf")], bins=2, step=4
    )
    assert item.load() == {"counts": [1, 2], "edges": [0.0, 0.5, 1.0], "nan": 1, "infinite": 1}
    counts, edges = np.histogram([1, 2, 3], 3)
    found = catalog.log_histogram(run, "h", counts=counts, edges=edges).load()
    assert (found["counts"], len(found["edges"])) == ([1, 1, 1], 4)


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.uint8, np.bool_]), hnp.array_shapes()
    )
)
@settings(deadline=None, max_examples=200)
def test_a_histogram_counts_every_finite_value(values: Any) -> None:
    content = json.loads(arrays.histogram(values, bins=8).source)  # type: ignore[arg-type]
    assert sum(content["counts"]) + content["nan"] + content["infinite"] == values.size
    assert len(content["edges"]) == len(content["counts"]) + 1


@pytest.mark.parametrize("value", [["a"], [1j], [[1], [2, 3]], None])
def test_what_has_no_histogram(value: Any) -> None:
    with pytest.raises(TypeError):
        arrays.histogram(value)


def test_arrays_come_back_and_objects_are_refused(run: Any) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    item = catalog.log_artifact(run, "a", body=array)
    assert (item.type, item.meta["shape"], item.meta["dtype"]) == ("array", [2, 3], "float32")
    assert np.array_equal(item.load(), array)
    assert "Python objects" in catalog.log_artifact(run, "o", body=np.array([{}, None])).error
    assert run.warnings.pop("artifact:o")


def test_an_array_of_objects_is_loaded_only_with_trust(run: Any, tmp_path: Any) -> None:
    from mlrun.errors import UntrustedPickle

    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    item = catalog.log_artifact(run, tmp_path / "o.npy")
    with pytest.raises(UntrustedPickle):
        item.load()
    assert item.load(trust=True)[0] == {"a": 1}
    np.savez(tmp_path / "z.npz", a=np.arange(3))
    assert catalog.log_artifact(run, tmp_path / "z.npz").load()["a"].tolist() == [0, 1, 2]


FIGURE = go.Figure()
WRAPPED = media.Image(np.zeros((4, 4)), caption="black")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (WRAPPED, "image"), (pl.DataFrame({"a": [1]}), "table"), (np.arange(10), "histogram"),
        (Pillow.new("L", (2, 2)), "image"), (FIGURE, "figure"), ("text", "text"), ({"a": [1]}, "json"),
        ([1, "x"], "json"), (media.Html("<b>"), "html"), (media.Histogram([1, 2]), "histogram"),
        (media.Table([{"a": 1}]), "table"), (media.Audio(np.zeros(9), 100), "audio"), (b"x", "artifact"),
    ],
)  # fmt: skip
def test_values_met_in_log(run: Any, value: Any, kind: str) -> None:
    item = media.log_value(run, "met", value, 5)
    assert item is not None
    assert item.type == kind
    assert run.store.pending[-1][2]["step"] == 5


def test_a_list_of_media(run: Any) -> None:
    item = media.log_value(run, "many", [WRAPPED, media.Image(np.ones((4, 4)))], 1)
    assert item is not None
    assert [op[2]["key"] for op in run.store.pending] == ["many/0", "many/1"]
    media.log_value(run, "many", [WRAPPED] * 101, 1)
    assert "100 of 101" in run.warnings.pop("unloggable:many")


class Hostile:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


def circle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    "make",
    [object, Hostile, circle, lambda: media.Image("/not/there.png"), lambda: np.array(["a"]), lambda: media.Image(7),
     lambda: circle],
)  # fmt: skip
def test_what_cannot_be_taken_is_warned_about_and_never_raised(make_run: Any, make: Any) -> None:
    run = make_run(strict=True)
    value = make()
    assert media.log_value(run, "x", value, 1) is None
    assert run.warnings["unloggable:x"].startswith("'x' was not logged")
    assert run.store.pending == []
