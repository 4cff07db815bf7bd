from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings, strategies as st

from mlrun.redact import (
    HIDDEN,
    is_secret_name,
    redact_argv,
    redact_mapping,
    redact_text,
    redact_url,
)

SECRET_NAMES = [
    "token",
    "hf-token",
    "auth_token",
    "password",
    "db.password",
    "PASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "api-key",
    "apiKey",
    "openai_api_key",
    "OPENAIAPIKEY",
    "client_secret",
    "private-key",
    "passphrase",
    "Authorization",
    "connection-string",
    "token2",
]
PLAIN_NAMES = [
    "lr",
    "max_tokens",
    "eos-token",
    "pad_token",
    "tokenizer",
    "author",
    "key",
    "sort_key",
    "password-file",
    "secretary",
    "keys",
    "compass",
    "n_tokens",
]
# a mark that no option name or separator can produce by chance
secrets = st.text(
    string.ascii_letters + string.digits + "!$%^*+,./:;@_~-", min_size=6, max_size=40
).map(lambda s: "Zq" + s + "qZ")


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_names(name: str) -> None:
    assert is_secret_name(name)
    assert is_secret_name("--" + name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_plain_names(name: str) -> None:
    assert not is_secret_name(name)
    assert redact_argv([f"--{name}", "value", f"--{name}=value"]) == [
        f"--{name}",
        "value",
        f"--{name}=value",
    ]


@given(
    st.sampled_from(SECRET_NAMES),
    secrets,
    st.sampled_from(["--{0}={1}", "-{0}={1}", "{0}={1}", "+{0}={1}"]),
)
def test_joined_option_hides_its_value(name: str, secret: str, form: str) -> None:
    out = redact_argv(["train.py", form.format(name, secret), "--lr", "0.1"])
    assert secret not in " ".join(out)
    assert out[1].endswith(f"={HIDDEN}")
    assert out[2:] == ["--lr", "0.1"]


@given(st.sampled_from(SECRET_NAMES), st.text(min_size=1).filter(lambda s: not s.startswith("--")))
def test_next_argument_is_hidden_whatever_it_is(name: str, secret: str) -> None:
    out = redact_argv([f"--{name}", secret, "--lr", "0.1"])
    if secret.lower() in {"bearer", "basic"}:
        assert out[2] == "--lr"
    else:
        assert out == [f"--{name}", HIDDEN, "--lr", "0.1"]


def test_option_behind_a_secret_flag_is_kept() -> None:
    assert redact_argv(["--use-auth-token", "--lr", "1"]) == ["--use-auth-token", "--lr", "1"]


def test_header_in_one_or_more_arguments() -> None:
    shown = redact_argv(
        ["-H", "Authorization: Bearer abc.def", "Authorization:", "Bearer", "abc.def"]
    )
    assert shown == ["-H", f"Authorization: {HIDDEN}", "Authorization:", "Bearer", HIDDEN]


passwords = st.text(string.ascii_letters + "!$%^*+,;~-/@", min_size=1, max_size=20).map(
    lambda s: "q" + s
)


@given(passwords, st.sampled_from(["postgresql", "https", "git+https", "s3", "redis"]))
def test_url_password_is_hidden(password: str, scheme: str) -> None:
    url = f"{scheme}://user:{password}@host.example/path"
    assert redact_url(url) == f"{scheme}://{HIDDEN}@host.example/path"
    assert f"user:{password}" not in redact_argv(["--db", url])[1]
    assert (
        redact_text(f"cannot reach {url} now")
        == f"cannot reach {scheme}://{HIDDEN}@host.example/path now"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/org/repo.git",
        "git+https://github.com/org/repo@main",
        "git@github.com:org/repo.git",
        "ssh://git@github.com/org/repo.git",
        "http://host:8080/a@b",
        "http://[::1]:8080/a@b",
        "file:///tmp/a@b",
    ],
)
def test_url_without_a_secret_is_kept(url: str) -> None:
    assert redact_url(url) == url
    assert redact_text(url) == url


def test_secret_query_values_are_hidden() -> None:
    url = "https://b.example/o?sv=1&sig=ab%2Fcd&X-Amz-Signature=ff00&token=t&lang=en"
    assert redact_url(url) == (
        f"https://b.example/o?sv=1&sig={HIDDEN}&X-Amz-Signature={HIDDEN}&token={HIDDEN}&lang=en"
    )


@pytest.mark.parametrize(
    "credential",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "11AAAA_" + "b" * 40,
        "hf_" + "AbCdEfGh" * 4,
        "sk-proj-" + "Ab1_" * 10,
        "xoxb-" + "123456789012-abc",
        "AIza" + "Sy" * 17,
        "glpat-" + "x" * 20,
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0" + ".c2lnbmF0dXJl",
        "aB3" * 12,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_credential_shapes_are_hidden_anywhere(credential: str) -> None:
    for text in (f"failed with {credential}: denied", credential, f"x={credential}"):
        assert credential not in redact_text(text)
    assert redact_argv(["run", credential]) == ["run", HIDDEN]


@pytest.mark.parametrize(
    "text",
    [
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "018f4d0e-7c1a-7b3e-9a53-2f1f0a7b3c4d",
        "ResNet50-ImageNet2012-Adam-lr3e4-seed42-verylong",
        "sk-learn-something-long-name-v2",
        "loss: 0.31 acc=0.9 path=/data/train/part-00001.parquet",
        "max_tokens=4096 eos_token=</s>",
    ],
)
def test_ordinary_text_is_kept(text: str) -> None:
    assert redact_text(text) == text


def test_values_of_secret_environment_variables_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "plainwordsecret")
    monkeypatch.setenv("PWD", "/home/somebody/work")
    monkeypatch.setenv("SHORT_SECRET", "abc")
    text = "plainwordsecret in /home/somebody/work abc"
    assert redact_text(text) == f"{HIDDEN} in /home/somebody/work abc"


@given(secrets, st.sampled_from(SECRET_NAMES))
def test_json_text_is_redacted_and_stays_json(secret: str, name: str) -> None:
    shown = json.loads(redact_text(json.dumps({name: secret, "lr": 0.1})))
    assert shown == {name: HIDDEN, "lr": 0.1}
    twice = redact_text(json.dumps({"body": json.dumps({name: secret})}))
    assert secret not in twice
    assert json.loads(json.loads(twice)["body"]) == {name: HIDDEN}


def test_mapping_at_any_depth() -> None:
    given_ = {
        "api_key": "x",
        "lr": 1,
        "db": {"password": "y", "url": "pg://u:p@h/d"},
        "l": ["token=z", 3],
    }
    assert redact_mapping(given_) == {
        "api_key": HIDDEN,
        "lr": 1,
        "db": {"password": HIDDEN, "url": f"pg://{HIDDEN}@h/d"},
        "l": [f"token={HIDDEN}", 3],
    }


@given(st.text(max_size=300))
@settings(max_examples=300)
def test_any_text_is_taken_and_redacting_twice_changes_nothing(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once
    assert len(redact_argv([text, text])) == 2


@given(
    st.lists(
        st.sampled_from(["key=", "a:", '"', "'", "\\", "://", "@", "=", "token", " ", "x1", "-"]),
        max_size=60,
    )
)
def test_hostile_mixtures_are_taken(parts: list[str]) -> None:
    once = redact_text("".join(parts))
    assert redact_text(once) == once
