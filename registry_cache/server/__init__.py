"""The server: everything that knows gunicorn or gevent. The application is handed to it."""
