from __future__ import annotations

import re

from hypothesis import example, given, strategies as st

from mlrun.executors.kube_names import CRON_LIMIT, JOB_LIMIT, kube_label, kube_label_key, kube_name

LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


@given(st.text(), st.sampled_from([JOB_LIMIT, CRON_LIMIT, JOB_LIMIT - 9]))
@example("", JOB_LIMIT)
@example("9lives", JOB_LIMIT)
@example("x" * 36 + "-", CRON_LIMIT)
@example("\ud800", JOB_LIMIT)
def test_every_text_becomes_a_name_that_kuberay_takes(text: str, limit: int) -> None:
    name = kube_name(text, limit)
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= limit
    assert kube_name(name, limit) == name


@given(st.lists(st.text(max_size=60), min_size=2, max_size=20, unique=True))
@example(["Train", "train"])
@example(["a_b", "a-b", "a.b"])
@example(["é", "è", "日本", "語"])
def test_different_texts_stay_different(texts: list[str]) -> None:
    assert len({kube_name(t) for t in texts}) == len(texts)


def test_a_name_that_is_one_stays_as_it_is() -> None:
    assert kube_name("train-2") == "train-2"


@given(st.text())
def test_every_text_becomes_the_value_of_a_label(text: str) -> None:
    value = kube_label(text)
    assert LABEL.fullmatch(value)
    assert len(value) <= 63
    key = kube_label_key(text).removeprefix("mlrun/")
    assert key
    assert LABEL.fullmatch(key)
