"""An API of hug under waitress, which test_hug_use starts."""

import os
import sys

import waitress

from coatcheck import Sessions
from tests.behaviours.site import PATIENT
from tests.compat.hug_store_redis.quietly import hug
from tests.frameworks.hug_apps import api_of, player, raw

if __name__ == "__main__":
    sessions = Sessions.from_url(f"sqlite:///{os.environ['SESSIONS_DB']}", insecure_http=True, **PATIENT)
    api = api_of(sessions)
    hug.get("/play", api=api, output=raw)(player(sessions))
    server = waitress.create_server(api.http.server(), host="127.0.0.1", port=0, threads=4)
    print(f"Listening at: http://127.0.0.1:{server.effective_port}", file=sys.stderr, flush=True)
    server.run()
