import pytest

from redflag_store.engine import DatabaseUrlRefusedError, database_url, driver_dsn


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_database_url_gets_the_driver(scheme: str) -> None:
    url = database_url(f"{scheme}://u:p%40ss@h:5433/name")
    assert (url.drivername, url.username, url.password) == ("postgresql+asyncpg", "u", "p@ss")
    assert (url.host, url.port, url.database) == ("h", 5433, "name")


def test_database_url_translates_sslmode_and_driver_dsn_translates_it_back() -> None:
    assert database_url("postgresql://u:p@h/n?sslmode=require").query == {"ssl": "require"}
    assert driver_dsn("postgresql://u:p@h/n?sslmode=require") == "postgresql://u:p@h/n?sslmode=require"


@pytest.mark.parametrize(
    "url", ["mysql://u:geheim@h/n", "postgresql://u:geheim@h", "geheim", "", "postgresql://h:x/n"]
)
def test_database_url_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(DatabaseUrlRefusedError) as caught:
        database_url(url)
    assert "geheim" not in str(caught.value)
