// How the search ranks its results: guides first, records of decisions and generated tables last.

// The page that answers a word which many pages contain.
const ANSWERS = {
  "how-to/sign-in-and-out": ["login", "log in", "logout", "log out", "sign in", "sign out", "authentication"],
  "how-to/devices": ["device", "log out everywhere"],
  "how-to/lifetimes": ["expire", "expiry", "expiration", "timeout", "remember me", "ttl"],
  "how-to/csrf": ["csrf", "xsrf"],
  "how-to/redis": ["redis", "valkey"],
  "how-to/sql": ["postgresql", "postgres", "mysql", "mariadb", "database", "sqlalchemy"],
  "how-to/outages": ["outage", "503"],
  "how-to/merging": ["merge", "conflict", "race"],
  "how-to/asgi": ["fastapi", "starlette", "asgi"],
  "how-to/secrets-and-keys": ["secret", "key"],
  "how-to/behind-a-proxy": ["proxy", "nginx", "https"],
  "how-to/workers": ["worker", "job"],
  "how-to/scripts": ["script", "celery", "cron"],
  "how-to/deploy": ["deploy", "deployment", "production"],
  "how-to/deploy-wsgi": ["gunicorn", "waitress", "gevent"],
  "how-to/deploy-asgi": ["uvicorn"],
  "how-to/deploy-docker": ["docker", "compose", "container"],
  "how-to/deploy-systemd": ["systemd"],
  "how-to/deploy-apache": ["apache", "mod_wsgi"],
  "how-to/spa": ["spa", "cors", "react", "vue"],
  "how-to/upgrade": ["upgrade", "version"],
  "how-to/from-flask-session": ["flask-session"],
  "how-to/from-starsessions": ["starsessions"],
  "explanation/capacity": ["capacity"],
  arriving: ["migrate", "migration"],
  "how-to/several-apps": ["cookie"],
  "how-to/troubleshooting": ["error", "problem"],
  faq: ["jwt", "nfs", "gdpr"],
};

const FOLDERS = [
  [/^(how-to|tutorial)\/|^faq$/, 20],
  [/^reference\/(promises|behaviours|conformance|record-format|compat-)/, -30],
  [/^decisions(\/|$)/, -30],
  [/^[^/]+$/, 5],
];

const query = (new URLSearchParams(window.location.search).get("q") ?? "").trim();
const words = query.toLowerCase();
const isName = /_|^.+[A-Z]/.test(query); // revoke_user, TooLarge

var Scorer = {
  score: ([page, title, anchor, description, score, filename, kind]) => {
    let ranked = score + (FOLDERS.find(([folder]) => folder.test(page))?.[1] ?? 0);
    // The name of a class, a method or a setting is asked for by its full name.
    if (kind === "object") {
      const asked = title.toLowerCase().split(".").pop() === words && !page.startsWith("reference/compat-");
      ranked = score + (asked ? (isName ? 40 : 12) : -30);
    }
    if (!anchor && ANSWERS[page]?.some((word) => word === words || `${word}s` === words)) ranked += 50;
    return ranked;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
