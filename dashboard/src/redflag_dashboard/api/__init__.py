"""The API's operations, one module per domain; each ends with the routes it declares."""
