"""The glue between aiohttp and pydantic: routes declared once, checked, documented and answered the same way."""
