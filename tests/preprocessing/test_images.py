"""Tests of image stimuli from events to decoders."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from sk_b2s import (
    ForwardTRF,
    ImageStimulus,
    MelSpectrogram,
    PaperBlocks,
    PrecomputedFeatures,
    RidgeDecoder,
    StimulusArray,
    StimulusKFold,
    Windows,
    check_events,
    check_leakage,
    load,
    make_segments,
    retrieve,
    save,
)
from sk_b2s.features import _vectors


@pytest.fixture
def events():
    """Two presentations of 24 images of 12 concepts, every 0.5 s."""
    order = np.concatenate([np.random.default_rng(seed).permutation(24) for seed in (0, 1)])
    return pd.DataFrame({
        "subject": "01", "recording": "a.fif", "type": "image", "onset": 2 + 0.5 * np.arange(48), "duration": 0.1,
        "image": [f"image {i}" for i in order], "category": [f"concept {i // 2}" for i in order],
        "recording_duration": 40.0,
    })  # fmt: skip


@pytest.fixture
def vectors():
    return pd.DataFrame(
        np.random.default_rng(2).normal(size=(24, 5)).astype(np.float32),
        index=[f"image {i}" for i in range(24)],
    )


def make_tables(events):
    return make_segments(events, anchor="image", tmin=-0.1, tmax=0.7)


def test_check_events_fills_in_images(events):
    checked = check_events(events.drop(columns="category"))
    assert checked["sound"][0] == ImageStimulus(events["image"][0])
    assert (checked["category"] == checked["image"]).all()
    assert checked.groupby("image")["repetition"].apply(list).map(lambda n: n == [0, 1]).all()


def test_check_events_refuses_equal_names(events, tmp_path):
    paths = [tmp_path / folder / "01.jpg" for folder in ("cat", "dog")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("same")
    events = events[:2].drop(columns="category").assign(image=paths)
    assert check_events(events)["repetition"].tolist() == [0, 1]
    paths[1].write_text("other")
    with pytest.raises(ValueError, match=r"different files have the name '01'.*cat/01.jpg.*dog/01.jpg"):
        check_events(events)
    events["image"] = [ImageStimulus(f"{path.parent.name}/01", str(path)) for path in paths]
    assert check_events(events)["image"].tolist() == ["cat/01", "dog/01"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": None}, "row 0, column 'image'"),
        ({"category": [str(i) for i in range(48)]}, "one category for each image"),
        ({"duration": 0.8}, "begins at"),
    ],
    ids=["missing", "categories", "overlap"],
)
def test_check_events_refuses_wrong_images(events, change, message):
    with pytest.raises(ValueError, match=message):
        check_events(events.assign(**change))


def test_image_identity_is_content(tmp_path, events):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"2" if name == "c.png" else b"1")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    three = events.iloc[:3].assign(image=paths, category=["x", "y", "z"])
    _, y = make_tables(three)
    assert y["segment"].nunique() == 2
    assert y["block"].nunique() == 2  # x and y share an image by content
    with pytest.raises(ValueError, match="existing file"):
        check_events(three.assign(image=[*paths[:2], tmp_path / "none.png"]))


def test_make_segments_blocks_are_concepts(events):
    X, y = make_tables(events)
    assert len(X) == 48
    assert y["segment"].nunique() == 24
    assert y.groupby("block")["category"].nunique().eq(1).all()
    assert y["block"].nunique() == 12
    assert X["onset"].iloc[0] == pytest.approx(1.9)
    for train, test in StimulusKFold(4).split(X, y):
        assert not set(y["category"].iloc[train]) & set(y["category"].iloc[test])
    assert check_leakage(X, y, StimulusKFold(4))["leaking"].eq(0).all()
    assert check_leakage(X, y, StimulusKFold(4))["concepts"].eq(0).all()
    assert check_leakage(X, y, 5)["verdict"].eq("leak").all()


def test_check_leakage_names_concepts(events):
    X, y = make_tables(events)
    is_odd = y["image"].str.split().str[-1].astype(int) % 2 == 1  # one of the two images of each concept
    leak = check_leakage(X, y, [(np.flatnonzero(is_odd), np.flatnonzero(~is_odd))]).loc[0]
    assert leak["leak_sources"] == "concepts of training"
    assert "other images of 12 concepts of the test are in training" in leak["verdict_text"]
    same = check_leakage(X, y, [(np.arange(24), np.arange(24, 48))]).loc[0, "verdict_text"]
    assert "100 % of the test windows contain images of training" in same
    assert "no image or concept is on both sides" in check_leakage(X, y, StimulusKFold(4))["verdict_text"][0]


def test_features_file_is_read_until_it_changes(events, vectors, tmp_path, monkeypatch):
    path, (_, y) = tmp_path / "vectors.npz", make_tables(events)
    np.savez(path, **{name: row.to_numpy() for name, row in vectors.iterrows()})
    first = PrecomputedFeatures(path).fit_transform(y)
    with monkeypatch.context() as patch:
        patch.setattr(_vectors, "_read_vectors_file", lambda path: pytest.fail("read again"))
        np.testing.assert_array_equal(PrecomputedFeatures(str(path)).fit_transform(y), first)
    np.savez(path, **{name: np.r_[row, 1].astype(np.float32) for name, row in vectors.iterrows()})
    assert PrecomputedFeatures(path).fit_transform(y).shape == (48, 6)


def test_make_segments_refuses_paper_blocks(events):
    with pytest.raises(ValueError, match="PaperBlocks"):
        make_segments(events, anchor="image", block=PaperBlocks())


@pytest.mark.parametrize("kind", ["table", "npz", "npz per image", "safetensors"])
def test_precomputed_features_reads_vectors(tmp_path, events, vectors, kind):
    _, y = make_tables(events)
    source, names = tmp_path / f"vectors.{kind.split()[0]}", list(vectors.index)
    if kind == "table":
        source = vectors
    elif kind == "npz":
        np.savez(source, features=vectors.to_numpy(), names=names)
    elif kind == "npz per image":
        np.savez(source, **{name: vectors.loc[name].to_numpy() for name in names})
    else:
        save_file({"features": np.ascontiguousarray(vectors)}, source, {"names": json.dumps(names)})
    found = PrecomputedFeatures(source).fit_transform(y)
    np.testing.assert_array_equal(found, vectors.loc[y["image"]].to_numpy())


def test_precomputed_features_reads_parquet(tmp_path, monkeypatch, events, vectors):
    """The reader of parquet is replaced, as pyarrow is optional."""
    _, y = make_tables(events)
    path = tmp_path / "vectors.parquet"
    path.write_bytes(b"PAR1")
    table = vectors.rename_axis("name").reset_index()
    monkeypatch.setattr(pd, "read_parquet", lambda source: table)
    found = PrecomputedFeatures(path).fit_transform(y)
    np.testing.assert_array_equal(found, vectors.loc[y["image"]].to_numpy())

    def fail(source):
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", fail)
    path.write_bytes(b"PAR2 ")  # another size, as an unchanged file is not read again
    with pytest.raises(ImportError, match="requires pyarrow. Install it"):
        PrecomputedFeatures(path).fit(y)


def test_precomputed_features_explains_files(tmp_path, events, vectors):
    _, y = make_tables(events)
    features, names = np.ascontiguousarray(vectors), vectors.index.to_numpy(object)
    np.savez(tmp_path / "a.npz", features=features, names=names)
    (tmp_path / "b.npz").write_bytes(b"nothing")
    (tmp_path / "c.safetensors").write_bytes(b"nothing")
    save_file({"features": features}, tmp_path / "d.safetensors", {"names": "image 1, image 2"})
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=rf"{path.name}' is not a {path.suffix[1:]} file.*Write it with"):
            PrecomputedFeatures(path).fit(y)
    np.savez(tmp_path / "a.npz", features=features, names=names.astype(bytes))
    assert PrecomputedFeatures(tmp_path / "a.npz").fit(y).n_features_out_ == 5


def test_precomputed_features_names_missing(events, vectors):
    _, y = make_tables(events)
    with pytest.raises(ValueError, match="lack a vector of 'image 3'"):
        PrecomputedFeatures(vectors.drop("image 3")).fit(y)
    with pytest.raises(ValueError, match="'features' for stimuli such as the image"):
        PrecomputedFeatures().fit(y)
    with pytest.raises(ValueError, match="MelSpectrogram requires audio"):
        MelSpectrogram().fit_transform(y)


def test_ridge_decodes_images_of_new_concepts(events, vectors):
    X, y = make_tables(events)
    mixing = np.random.default_rng(3).normal(size=(5, 8))
    response = vectors.loc[y["image"]].to_numpy() @ mixing
    data = response[:, :, None] * np.hanning(20) + np.random.default_rng(4).normal(size=(48, 8, 20))
    windows = Windows.from_array(data.astype(np.float32), rows=X, sfreq=25)
    train, test = next(StimulusKFold(3).split(X, y))
    decoder = RidgeDecoder(speech=PrecomputedFeatures(vectors), cv=2).fit(windows[train], y.iloc[train])
    found = retrieve(decoder, windows[test], y.iloc[test])
    assert found.top_k(1) > 0.5
    averaged = found.average("repeat")
    assert averaged.rows["n_averaged"].eq(2).all()
    assert averaged.top_k(1) >= found.top_k(1)
    summary = averaged.summary(k=3, n_shifts=0)
    assert summary["single_top_1"] == pytest.approx(found.top_k(1))
    assert summary["single_top_k"] == pytest.approx(found.top_k(3))
    assert summary["n_averaged"] == 2
    assert len(averaged.null(k=3, n_shifts=10)) == 10  # labels are shifted between images
    again = averaged.average("subject").select([0, 1])
    assert again.rows["single_ranks"].map(len).eq(2).all()
    assert "single_top_1" not in found.summary(k=3, n_shifts=0)


def test_precomputed_features_makes_pulses(events, vectors):
    _, y = make_tables(events)
    pulses = PrecomputedFeatures(vectors, sfreq=10).fit_transform(y)
    assert pulses.shape == (48, 5, 8)
    np.testing.assert_array_equal(pulses[:, :, 1], vectors.loc[y["image"]].to_numpy())  # the onset
    assert np.count_nonzero(pulses.any(1)) == 48
    with pytest.raises(ValueError, match="windows of equal duration"):
        PrecomputedFeatures(vectors, sfreq=10).fit_transform(y.assign(duration=np.linspace(1, 2, 48)))


def test_forward_trf_recovers_response_to_images(events, vectors):
    X, y = make_tables(events)
    mixing = np.random.default_rng(3).normal(size=(5, 4))
    response = vectors.loc[y["image"]].to_numpy() @ mixing
    shape = np.r_[0, 0, np.hanning(6)]
    data = 2 + (response[:, :, None] + 1) * shape  # a response to any image, and a constant
    windows = Windows.from_array(data.astype(np.float32), rows=X, sfreq=10)
    speech = PrecomputedFeatures(vectors.assign(constant=1.0), sfreq=10)
    model = ForwardTRF(speech=speech, lags=(0, 0.6), alphas=(1e-6,), cv=2).fit(windows, y)
    assert np.corrcoef(model.predict(y).ravel(), data.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["table", "path"])
def test_save_keeps_images(tmp_path, events, vectors, kind):
    X, y = make_tables(events)
    data = np.random.default_rng(5).normal(size=(48, 3, 20)).astype(np.float32)
    windows = Windows.from_array(data, rows=X, sfreq=25)
    np.savez(tmp_path / "vectors.npz", features=vectors.to_numpy(), names=list(vectors.index))
    speech = PrecomputedFeatures(vectors if kind == "table" else str(tmp_path / "vectors.npz"))
    decoder = RidgeDecoder(speech=speech, cv=2).fit(windows, y)
    save(decoder, tmp_path / "decoder")
    loaded = load(tmp_path / "decoder")
    assert loaded.segments_["sound"].tolist() == decoder.segments_["sound"].tolist()
    np.testing.assert_array_equal(loaded.similarity(windows, y), decoder.similarity(windows, y))


def test_rate_requires_vectors():
    table = pd.DataFrame(
        {"sound": [StimulusArray(np.eye(40)[:, :2], 20)], "sound_onset": 0.0, "duration": 1.0}
    )
    with pytest.raises(ValueError, match=r"PrecomputedFeatures\(sfreq=50\) requires features="):
        PrecomputedFeatures(sfreq=50).fit(table).transform(table)


def make_own(events, kind="vibration"):
    """Return the events as those of another type."""
    return events.rename(columns={"image": kind}).assign(type=kind)


def test_own_type_has_all_steps_of_images(events, vectors):
    X, y = make_segments(make_own(events), anchor="vibration", tmin=-0.1, tmax=0.7)
    _, image = make_tables(events)
    assert set(y["sound"].map(type)) == {ImageStimulus}
    assert not set(y["segment"]) & set(image["segment"])  # an image of this name is another stimulus
    assert (y["block"] == image["block"]).all()
    np.testing.assert_array_equal(
        PrecomputedFeatures(vectors).fit_transform(y), PrecomputedFeatures(vectors).fit_transform(image)
    )
    assert X["heard_start"].iloc[0] == events["onset"].min()
    for train, test in StimulusKFold(4).split(X, y):
        assert not set(y["category"].iloc[train]) & set(y["category"].iloc[test])
    same = check_leakage(X, y, [(np.arange(24), np.arange(24, 48))]).loc[0, "verdict_text"]
    assert "100 % of the test windows contain stimuli of training" in same
    assert "no stimulus or concept" in check_leakage(X, y, StimulusKFold(4))["verdict_text"][0]
    with pytest.raises(ValueError, match="Got the vibration 'image"):
        MelSpectrogram().fit_transform(y)


def test_own_type_may_be_with_images(events):
    both = pd.concat([events[::2], make_own(events)[1::2]], ignore_index=True)
    checked = check_events(both)
    assert checked.groupby("type")["repetition"].max().to_dict() == {"image": 1, "vibration": 1}
    for kind in ("image", "vibration"):
        X, y = make_segments(both, anchor=kind, tmin=-0.1, tmax=0.7)
        assert len(X) == 24
        assert {sound.kind for sound in y["sound"]} == {kind}


@pytest.mark.parametrize(
    ("change", "anchor", "message"),
    [
        ({"type": "vibratoin"}, "vibration", "column 'type': expected one of .* or the name of a column"),
        ({"type": "imge"}, "image", "did you mean 'image'"),
        ({"type": "category"}, "category", "column 'type': expected one of"),
        ({"vibration": None}, "vibration", "column 'vibration': expected an identifier"),
        ({"vibration": ImageStimulus("a")}, "vibration", "an ImageStimulus with kind='vibration'"),
        ({}, "video", r"anchor must be .* another type of these events \('vibration'\).* Got 'video'"),
        ({}, "bad", "Got 'bad'"),
        ({}, 1.0, "events has rows of type 'vibration', which have no time axis. Use anchor='vibration'"),
    ],
)
def test_own_type_names_faults(events, change, anchor, message):
    with pytest.raises(ValueError, match=message):
        make_segments(make_own(events).assign(**change), anchor=anchor, tmin=-0.1, tmax=0.7)
