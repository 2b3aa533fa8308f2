"""Credentials never come in through a storage URL, and a refusal does not repeat them."""

import pytest
from pydantic import ValidationError

from cycleqd.config import ConfigError, RunConfig, parse_config
from cycleqd.storage import ObjectStore, StoreError, without_credentials


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:hunter22@bucket/runs",
        "s3://AKIA:hunt/hunter22@bucket/runs",
        "s3://AKIA:hunt+er/2/hunter22@bucket",
        "s3://AKIA:?hunter22#@bucket",
        "s3://AKIA:hunter22/bucket",
        "simplecache::s3://AKIA:hunter22@bucket/runs",
        "s3://bucket/runs?secret=hunter22",
        "az://container/runs?sv=1&sig=hunter22",
        "https://host/runs?pwd=hunter22",
    ],
)
def test_url_with_credentials_is_refused_without_repeating_them(url):
    with pytest.raises(ConfigError, match=r"storage: .*AWS_ACCESS_KEY_ID") as in_file:
        parse_config({"storage": url})
    with pytest.raises(ValidationError) as in_form:
        RunConfig(storage=url)
    with pytest.raises(StoreError, match="must not carry credentials") as in_code:
        ObjectStore(url, "run")
    for raised in (in_file, in_form, in_code):
        assert "hunter22" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "runs",
        "/data/runs",
        "s3://bucket/a@b/runs",
        "memory://x",
        "gs://bucket/key=1",
        "http://host:9000/runs",
        "http://host:9000",
        "s3://bucket/a:b@c",
        "http://[::1]:9000/x",
        "file:///data/x:y",
    ],
)
def test_plain_urls_pass(url):
    assert RunConfig(storage=url).storage == url
    assert without_credentials(url) == url
