"""A Django site under waitress or uvicorn, which test_django_layers starts."""

import os
import sys

from tests.frameworks import django_site
from tests.servers.process import HOST

if __name__ == "__main__":
    from coatcheck import Sessions
    from tests.behaviours.site import PATIENT

    sessions = Sessions.from_url(f"sqlite:///{os.environ['SESSIONS_DB']}", insecure_http=True, **PATIENT)
    if sys.argv[1] == "asgi":
        import socket

        import uvicorn

        listening = socket.create_server((HOST, 0))
        views = (*django_site.MIDDLEWARE[:1], "tests.frameworks.django_site.with_async_views")
        application = django_site.handler(sessions, asgi=True, MIDDLEWARE=views)
        server = uvicorn.Server(uvicorn.Config(application, lifespan="off", log_level="warning"))
        print(f"Listening at: http://{HOST}:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
        server.run(sockets=[listening])
    else:
        import waitress

        server = waitress.create_server(django_site.handler(sessions), host=HOST, port=0, threads=4)
        print(f"Listening at: http://{HOST}:{server.effective_port}", file=sys.stderr, flush=True)
        server.run()
