"""A Pyramid application under waitress, which test_pyramid_layers starts."""

import os
import sys

import waitress

from coatcheck import Sessions
from tests.behaviours.site import PATIENT
from tests.frameworks.pyramid_apps import app_of, configured
from tests.frameworks.test_pyramid import player

if __name__ == "__main__":
    sessions = Sessions.from_url(f"sqlite:///{os.environ['SESSIONS_DB']}", insecure_http=True, **PATIENT)
    application = app_of(configured(sessions), play=player(sessions))
    server = waitress.create_server(application, host="127.0.0.1", port=0, threads=4)
    print(f"Listening at: http://127.0.0.1:{server.effective_port}", file=sys.stderr, flush=True)
    server.run()
