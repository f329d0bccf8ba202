"""The plain page at `/`: it says where things are until the web pages come. No script, no outside resource."""

import hashlib
from base64 import b64encode
from html import escape
from typing import Final

from redflag_dashboard.rest.openapi import PREFIX

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
code { font: 0.95em ui-monospace, monospace; }
dt { font-weight: 600; margin-top: 1rem; }
dd { margin: 0; }
"""

_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RedFlag</title>
<style>{style}</style>
</head>
<body>
<h1>RedFlag {version}</h1>
<p>RedFlag answers here. There are no web pages yet: use the command line or the API.</p>
<dl>
<dt>Command line</dt>
<dd><code>redflag hosts list</code>, <code>redflag updates list</code>; <code>redflag --help</code> names the
rest, <code>redflag doctor</code> checks that all is well.</dd>
<dt>API</dt>
<dd><code>{prefix}</code>, with <code>Authorization: Bearer</code> and an API key;
<a href="{prefix}/openapi.json">its description (OpenAPI 3.1)</a>, <a href="{prefix}/info">version</a>.</dd>
<dt>First key</dt>
<dd><code>redflag up</code> prints where it is when it starts.</dd>
<dt>Documentation</dt>
<dd><code>README.md</code> and <code>docs/</code> of the project.</dd>
</dl>
</body>
</html>
"""


def page(version: str) -> str:
    """The page."""
    return _PAGE.format(style=_STYLE, version=escape(version), prefix=PREFIX)


def policy() -> str:
    """The page's Content-Security-Policy: its own style and nothing else."""
    style = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'none'"
    )
