"""A place in the tokens, for the readers of expressions and of lists."""

from __future__ import annotations

from typing import NoReturn

from mlrun.errors import WhereError, did_you_mean
from mlrun.where.parse_tokens import Token, tokenize

__all__ = ["Cursor"]


class Cursor:
    """Reads tokens left to right; `now` is the next one."""

    def __init__(self, text: str) -> None:
        self.tokens = tokenize(text)
        self.text = text
        self.at = 0

    @property
    def now(self) -> Token:
        """The next token; the last one is of kind `end` and stays."""
        return self.tokens[self.at]

    def done(self) -> bool:
        """Whether everything has been read."""
        return self.now.kind == "end"

    def take(self) -> Token:
        """Return the next token and step over it."""
        token = self.now
        self.at += token.kind != "end"
        return token

    def expect(self, what: str, why: str) -> Token:
        """Take an operator or keyword that must be there."""
        if what not in (self.now.op, self.now.word):
            self.refuse(f"`{what}` is missing{why}", self.now)
        return self.take()

    def refuse(self, message: str, token: Token) -> NoReturn:
        """Raise WhereError at a token."""
        raise WhereError(message, self.text, token.start)

    def unexpected(self) -> NoReturn:
        """Raise WhereError because nothing can begin or go on with the next token."""
        token, before = self.now, self.tokens[self.at - 1] if self.at else None
        if token.kind == "end":
            self.refuse("the expression ends too early", token)
        hint = ""
        if (
            before
            and before.kind in ("name", "number", "text")
            and token.kind in ("name", "number", "text")
        ):
            hint = did_you_mean(token.word, ("and", "or", "like", "ilike", "between", "is", "in"))
            hint = hint or ": an operator is missing before it"
        self.refuse(f"unexpected {token.text!r}{hint}", token)
