import pytest

from redflag_scanner_agent.packages.apt_download_size import parse


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("", 0),
        ("'http://deb.debian.org/pool/sed_4.9-1_amd64.deb' sed_4.9-1_amd64.deb 328964 SHA256:ab\n", 328_964),
        ("'http://a/b.deb' b_1%3a2_all.deb 10 SHA256:ab\n'copy:/x/c.deb' c.deb 5 \n", 15),
        ("'https://a/b.deb' b.deb 10 SHA256:ab\n'mirror+file:/c' c.deb 5 MD5Sum:ab\n", 15),
        ("'file:/srv/b.deb' b.deb 10 SHA256:ab\n", 0),
        ("Reading package lists...\nNeed to get 5 B of archives.\n", 0),
        ("'http://a/b.deb' b.deb 999999999999999 X:1\n" * 10, None),
        ("'http://a/b.deb' b.deb 9999999999999999999 X:1\n", 0),
    ],
)
def test_sizes_of_what_is_fetched_are_added(text: str, total: int | None) -> None:
    assert parse(text) == total
