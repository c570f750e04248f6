"""A visitor without a browser: reads pages, fills in their forms, follows where they lead."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """What a page says: its forms, its texts by id, its messages."""

    def __init__(self, response):
        super().__init__()
        self.response = response
        self.status = response.status_code
        self.html = response.get_data(as_text=True)
        self.forms = []
        self.messages = []
        self._texts = {}
        self._within = []
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "form":
            self.forms.append((attributes["action"], {}))
        elif tag == "input" and attributes.get("type") != "checkbox" and self.forms:
            self.forms[-1][1][attributes["name"]] = attributes.get("value", "")
        if tag not in ("input", "meta", "link", "br", "path", "circle", "rect", "ellipse"):
            self._within.append((tag, attributes.get("id"), attributes.get("class", "")))
        if attributes.get("class") == "message":
            self.messages.append("")

    def handle_endtag(self, tag):
        while self._within and self._within.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for _, name, kind in self._within:
            if name is not None:
                self._texts[name] = self._texts.get(name, "") + data
            if kind == "message":
                self.messages[-1] += data

    def text(self, name):
        """The text of the element with that id; None if there is none."""
        text = self._texts.get(name)
        return None if text is None else " ".join(text.split())

    def form(self, action, **wanted):
        """The fields of the first form with that action whose fields have these values."""
        for there, fields in self.forms:
            if there == action and all(fields.get(name) == value for name, value in wanted.items()):
                return fields
        raise LookupError(f"no form {action} {wanted} on {self.response.request.path}")

    @property
    def cost(self):
        return self.text("cost")

    @property
    def theme(self):
        return re.search('data-theme="(.*?)"', self.html)[1]


class Visitor:
    """One browser: its cookies, and the page before it."""

    def __init__(self, app, *, agent="a test"):
        self.client = app.test_client()
        self.agent = agent
        self.page = None

    def get(self, path="/"):
        self.page = Page(self.client.get(path, headers={"User-Agent": self.agent}))
        return self.page

    def post(self, path, fields, *, follow=True, **headers):
        """Send a form as it is, whether any page has it or not."""
        sent = {"User-Agent": self.agent} | {name.replace("_", "-"): value for name, value in headers.items()}
        response = self.client.post(path, data=fields, headers=sent)
        if follow and response.status_code == 303:
            return self.get(response.location.partition("#")[0])
        self.page = Page(response)
        return self.page

    def submit(self, action, find=None, *, follow=True, **filled):
        """Fill in a form of the page before us, and send it."""
        return self.post(action, self.page.form(action, **(find or {})) | filled, follow=follow)

    # What visitors of this shop do

    def sign_in(self, name="Ada", **filled):
        self.get("/sign-in")
        return self.submit("/sign-in", name=name, **filled)

    def take(self, good="mac", choice="M"):
        self.get("/")
        return self.submit("/basket/add", {"good": good}, choice=choice)

    @property
    def token(self):
        """What is in the cookie, for tests that it gets nowhere else."""
        cookie = self.client.get_cookie("coatcheck")
        return None if cookie is None else cookie.value
