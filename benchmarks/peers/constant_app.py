"""The limit: the server that mlship runs on, answering a constant to the same request."""
ANSWER = b'{"predictions":[1],"model":"bench","version":1}'


def app(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))])
    return [ANSWER]
