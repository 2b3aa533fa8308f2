import pytest

from cycleqd.faults import StoreError
from cycleqd.storage import open_filesystem


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("foo://bucket/runs", r"foo://bucket/runs: .*foo; give a folder, s3:// \(package s3fs"),
        ("dropbox://runs", "dropbox://runs: .*dropboxdrivefs"),  # which fsspec knows, and nobody here installs
    ],
)
def test_a_protocol_that_nothing_here_speaks_is_refused_with_what_to_install(url, told):
    with pytest.raises(StoreError, match=told):
        open_filesystem(url)


def test_urls_within_each_other_are_opened():
    assert open_filesystem("simplecache::memory://runs").root == "/runs"
