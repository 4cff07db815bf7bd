"""`fn.doc()` reads the syntax tree; nothing is run."""

from __future__ import annotations

import mlrun

CODE = '''"""Module."""
raise RuntimeError("nothing of this is run")


@mlrun.handler(outputs=["model", "accuracy:result"])
def train(context, data: mlrun.DataItem, lr: float = 0.1, *layers, epochs: int = 2, **rest):
    """Train a model.

    Longer.

    Args:
        data: the rows,
            one each.
        lr: how fast.

    Returns:
        Two things.
    """

    def inner():
        return nothing

    return fitted, score


async def evaluate(x, /, y=(1, 2)):
    """Evaluate.

    :param x: what: all of it
    """
    if x:
        return None
    return x[0]


class Trainer:
    """Trains."""

    def fit(self, rows: list) -> None:
        """Fit."""

    def _private(self): ...


def _hidden(): ...
'''


def documented() -> object:
    return mlrun.new_function("doc<b>", description="It trains.").with_code(body=CODE).doc()


def test_entry_points_are_public_functions_and_methods() -> None:
    found = mlrun.new_function("doc").with_code(body=CODE).doc()
    assert list(found.entry_points) == ["train", "evaluate", "Trainer::fit"]


def test_parameters_have_type_default_and_text() -> None:
    train = mlrun.new_function("doc").with_code(body=CODE).doc()["train"]
    shown = [(p.name, p.type, p.default, p.doc) for p in train.parameters]
    assert shown == [
        ("context", "", "", ""),
        ("data", "mlrun.DataItem", "", "the rows, one each."),
        ("lr", "float", "0.1", "how fast."),
        ("epochs", "int", "2", ""),
        ("*layers", "", "", ""),
        ("**rest", "", "", ""),
    ]
    assert (train.has_varargs, train.has_kwargs) == (True, True)
    assert train.lineno == 6
    assert train.doc == "Train a model.\n\nLonger."


def test_outputs_are_those_of_the_decorator_else_what_is_returned() -> None:
    found = mlrun.new_function("doc").with_code(body=CODE).doc()
    assert found["train"].outputs == ("model", "accuracy:result")
    assert found["evaluate"].outputs == ("x[0]",)
    assert found["Trainer::fit"].outputs == ()


def test_other_styles_of_docstrings_are_read() -> None:
    found = mlrun.new_function("doc").with_code(body=CODE).doc()["evaluate"]
    assert [(p.name, p.default, p.doc) for p in found.parameters] == [
        ("x", "", "what: all of it"), ("y", "(1, 2)", ""),
    ]  # fmt: skip


def test_it_is_text_to_read_and_escaped_as_html() -> None:
    shown = documented()
    assert "train(context, data: mlrun.DataItem, lr: float = 0.1" in repr(shown)
    assert "doc<b>" not in shown._repr_html_()  # type: ignore[attr-defined]


def test_code_that_cannot_be_parsed_documents_nothing() -> None:
    assert mlrun.new_function("doc").with_code(body="def f(:").doc().entry_points == {}
